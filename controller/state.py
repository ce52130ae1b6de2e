"""The state of a search as plain arrays and JSON: checkpoint.npz, from which it goes on bit for bit.

Nothing in such a file is executed: it has values alone, which are put into a search that was made anew with the same settings.
Checkpoints of earlier versions were pickles, which execute what they contain. To convert those of a run that you trust:

    python -m controller.state RUN_DIR/controller
"""

import argparse
import itertools
import json
import os
import pickle
import sys
import types

import numpy as np

from world_models.config import UserError
from world_models.controller.evolution import cma  # which is loaded there without Matplotlib
from world_models.job.command import Parser, run_script
from world_models.job.npz import read_npz
from world_models.job.reading import parsed, reading
from world_models.job.rundir import Atomic

NAME, OLD_NAME = "checkpoint.npz", "checkpoint.pkl"
PLAIN = (bool, int, float, str, type(None))
CONTAINERS = {"list": list, "tuple": tuple, "set": set}
CODE = types.FunctionType, types.BuiltinFunctionType, types.MethodType, types.ModuleType, type, np.ufunc, type(np.linalg.eigh)


def save_state(path, search, values):
    """Write the state of `search` and the JSON value `values` to `path`."""
    encoder = _Encoder()
    told = {"cma": cma.__version__, "search": encoder.tree(search), "values": values}
    arrays = {f"{i}": array for i, array in enumerate(encoder.arrays)}
    with Atomic(path) as temporary:
        np.savez(temporary, told=np.array(json.dumps(told)), **arrays)


def load_state(path, search, form=object):
    """Put the state in `path` into `search`, one made with the same settings. Returns the `values` that were saved.

    form: that of the values, as in `job.reading.misfit`.

    Raises UserError, naming the file, where it cannot be read, or is of another kind of search or version of cma.
    """
    with reading(path, f"restore it, or remove {os.path.dirname(path)} to begin again"):
        arrays = read_npz(path)
        told = parsed(arrays.pop("told").item(), {"cma": str, "search": dict, "values": form})
        version = told["cma"]
        if version == cma.__version__:
            search.prepare()
            _Decoder([arrays[str(i)] for i in range(len(arrays))]).put(told["search"], search)
            return told["values"]
    raise UserError(f"{path} was written with cma {version}, and here is cma {cma.__version__}: install that version to go on")


class _Encoder:
    """tree(value): JSON of values that are plain, arrays, containers, generators, or objects with attributes of these kinds.

    Functions and classes are not written: they are those that the new search has.
    """

    def __init__(self):
        self.arrays, self.seen, self.held = [], {}, []

    def tree(self, value):
        if type(value) in PLAIN:
            return value
        if isinstance(value, np.generic):
            return {"scalar": value.item(), "dtype": value.dtype.str}
        if isinstance(value, CODE):
            return {"kept": None}
        if id(value) in self.seen:
            return {"same": self.seen[id(value)]}
        self.seen[id(value)] = len(self.seen)
        self.held.append(value)  # else another value could have its id
        if isinstance(value, np.ndarray) and value.dtype != object:
            self.arrays.append(value)
            return {"array": len(self.arrays) - 1}
        if isinstance(value, np.random.Generator):
            return {"generator": value.bit_generator.state}
        if type(value) in CONTAINERS.values():
            return {type(value).__name__: [self.tree(part) for part in value]}
        found = {"class": _name(value)}
        if isinstance(value, list):
            found["parts"] = [self.tree(part) for part in value]
        if isinstance(value, dict):
            found["items"] = [[self.tree(key), self.tree(part)] for key, part in value.items()]
        if hasattr(value, "__getstate__") and type(value).__getstate__ is not object.__getstate__:
            attributes = value.__getstate__()
        else:
            attributes = getattr(value, "__dict__", None)
        if isinstance(attributes, dict):
            found["attributes"] = {name: self.tree(part) for name, part in attributes.items()}
        return found


class _Decoder:
    """put(tree, value): what _Encoder wrote, with the objects of `value`, which was there before."""

    def __init__(self, arrays):
        self.arrays, self.made = arrays, []

    def put(self, tree, value=None):
        if type(tree) in PLAIN:
            return tree
        if "scalar" in tree:
            return np.dtype(tree["dtype"]).type(tree["scalar"])
        if "kept" in tree:
            return value
        if "same" in tree:
            return self.made[tree["same"]]
        place = len(self.made)
        self.made.append(value)
        if "array" in tree:
            self.made[place] = self.arrays[tree["array"]].copy()
        elif "generator" in tree:
            value.bit_generator.state = tree["generator"]
        elif kind := CONTAINERS.keys() & tree.keys():
            (kind,) = kind
            before = value if isinstance(value, (list, tuple)) else ()
            self.made[place] = CONTAINERS[kind](self._parts(tree[kind], before))
        else:
            self._fill(tree, place)
        return self.made[place]

    def _parts(self, parts, before):
        return [self.put(part, old) for part, old in itertools.zip_longest(parts, before[: len(parts)])]

    def _fill(self, tree, place):
        value = self.made[place]
        if value is None and tree["class"] == _name({}):
            value = self.made[place] = {}
        if tree["class"] != _name(value):
            raise ValueError(f"it has a {tree['class']} where this search has a {_name(value)}")
        if "parts" in tree:
            value[:] = self._parts(tree["parts"], list(value))
        if "items" in tree:
            before = dict(value)
            dict.clear(value)
            for key, part in tree["items"]:
                key = self.put(key)
                dict.__setitem__(value, key, self.put(part, before.get(key)))
        if "attributes" in tree:
            before = dict(value.__dict__)
            value.__dict__.clear()
            for name, part in tree["attributes"].items():
                value.__dict__[name] = self.put(part, before.get(name))


def _name(value):
    return f"{type(value).__module__}.{type(value).__qualname__}"


class _Unpickler(pickle.Unpickler):
    """Also finds modules by the names that they had when older checkpoints were written."""

    def find_class(self, module, name):
        if module.partition(".")[0] == "controller":
            module = f"world_models.{module}".replace(".controller.history", ".controller.training")
        return super().find_class(module, name)


def main(argv=None):
    parser = Parser(description=__doc__, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", metavar="FOLDER", nargs="+", help="folders that have a checkpoint.pkl")
    for folder in parser.parse_args(argv).folders:
        path = os.path.join(folder, OLD_NAME)
        print(f"{path} is a pickle: what it contains is executed now", file=sys.stderr)
        try:
            with open(path, "rb") as file:
                _Unpickler(file).load().save(folder)
        except Exception as error:
            raise UserError(f"{path} cannot be read ({error!r}): give a folder whose search was stopped") from None
        print(f"wrote {os.path.join(folder, NAME)}; {OLD_NAME} is no longer needed")


if __name__ == "__main__":
    run_script(main)
