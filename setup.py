"""The package's metadata. requirements.lock beside it has the exact versions that were tested together."""

from setuptools import setup

setup(
    name="world-models",
    version="1.0.0",
    description="World Models (Ha & Schmidhuber, 2018) in TensorFlow and Keras 3",
    python_requires=">=3.10,<3.14",
    py_modules=["config", "extract", "train", "evaluate", "probe", "history"],
    packages=["bench", "env", "env.car", "vae", "rnn", "dream", "doomrnn", "controller", "job", "original"],
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
    extras_require={"test": ["pytest>=8", "pytest-cov>=5", "pytest-xdist>=3.6", "ruff>=0.9"]},
)
