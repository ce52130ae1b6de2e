"""World Models under one name, whatever a project that uses it has called `config` or `env` itself.

Everything here is imported by this name: `world_models.env` is the folder env/, `world_models.config` is config.py. In a
checkout the flat names lead to the same modules: `vae.vae` is `world_models.vae.vae`.
"""

import importlib.abc
import importlib.machinery
import importlib.util
import os
import sys

FLAT = "config", "job", "original", "env", "vae", "rnn", "dream", "doomrnn", "controller", "demo", "bench"
_HERE = os.path.dirname(os.path.abspath(__file__))
_CHECKOUT = os.path.dirname(_HERE)
# TensorFlow imports Keras, which then has the backend that the environment asks for. job.deep says what it was.
asked_backend = os.environ.get("KERAS_BACKEND", "tensorflow")
if "keras" not in sys.modules:
    os.environ["KERAS_BACKEND"] = "tensorflow"


class _FlatNames(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds `vae.vae` and the like, where the import system would take them from this checkout."""

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in FLAT:
            return None
        found = importlib.machinery.PathFinder.find_spec(name, path)
        if found is None or not (found.origin or "").startswith(_CHECKOUT + os.sep):
            return None
        found.loader, found.loader_state = self, found.loader
        return found

    def create_module(self, spec):
        module = importlib.import_module(f"{__name__}.{spec.name}")
        spec.loader_state = module.__spec__
        return module

    def exec_module(self, module):
        module.__spec__ = module.__spec__.loader_state  # the import system has put the flat name's there

    def get_code(self, name):
        """For `python -m vae.train`, which runs the file as `__main__`."""
        return importlib.util.find_spec(f"{__name__}.{name}").loader.get_code(f"{__name__}.{name}")


if not os.path.exists(os.path.join(_HERE, "config.py")):  # where this is installed, all is in this folder
    __path__.append(_CHECKOUT)
    sys.meta_path.insert(0, _FlatNames())
