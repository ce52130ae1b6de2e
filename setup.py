"""The package's metadata. requirements.lock beside it has the exact versions that were tested together.

What is installed has one name, world_models: a module `config` or a folder `env` of a user's own is not in its way.
"""

from setuptools import Extension, setup
from setuptools.command.build_py import build_py

FOLDERS = ["bench", "controller", "demo", "doomrnn", "dream", "env", "env.car", "job", "original", "rnn", "vae"]
SCRIPTS = ["config", "extract", "train", "evaluate", "iterate", "probe", "play", "history"]


class BuildPy(build_py):
    """Puts the files of the top folder into world_models, which has a folder of its own here."""

    def find_package_modules(self, package, folder):
        found = super().find_package_modules(package, folder)
        return found + [(package, name, f"{name}.py") for name in SCRIPTS] if package == "world_models" else found


setup(
    name="world-models",
    version="1.0.0",
    description="World Models (Ha & Schmidhuber, 2018) in TensorFlow and Keras 3",
    license="MIT",
    python_requires=">=3.10,<3.14",
    packages=["world_models", *(f"world_models.{folder}" for folder in FOLDERS)],
    package_data={"world_models.demo": ["page/*"], "world_models.bench": ["demos.*"]},
    package_dir={f"world_models.{folder}": folder.replace(".", "/") for folder in FOLDERS},
    cmdclass={"build_py": BuildPy},
    # -ffp-contract=off: no product and sum in one, which other processors round differently. The next two let roundings be
    # vectorized; nothing looks at errno or at the flags of floating-point exceptions.
    ext_modules=[
        Extension(
            "world_models.env.drawing",
            ["env/drawing.cpp"],
            extra_compile_args=["-std=c++17", "-O3", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math"],
            language="c++",
        )
    ],
    install_requires=[
        "tensorflow>=2.18",
        "tensorflow-probability>=0.25",
        "tf-keras>=2.18",  # tensorflow-probability imports it
        "tensorboard>=2.18",  # recent releases of tensorflow no longer bring it
        "numpy>=1.26",
        "gymnasium>=1.0",
        "box2d-py>=2.3.8",  # no wheels: its build needs swig and a C++ compiler
        "pygame-ce>=2.5",  # Gymnasium's CarRacing on a screen; vizdoom needs this fork, and two forks overwrite each other
        "vizdoom>=1.2.4",
        "cma>=4.0",
        "mpi4py>=4.1",  # the first with wheels; they bind to the MPI that they find when they run
        "threadpoolctl>=3.5",
        "opencv-python-headless>=4.10",
        "pillow>=10.3",
        "tqdm>=4.66",
        "matplotlib>=3.9",
        "imageio-ffmpeg>=0.5",
    ],
    extras_require={
        "test": [
            "pytest>=8",
            "pytest-cov>=5",
            "pytest-xdist>=3.7",
            "ruff>=0.9",
            "playwright>=1.50",
            "wasmtime>=25",
            "hypothesis>=6.100",
        ]
    },
)
