"""Shared by the tests: runs with small untrained models, and a way to call the scripts as a user does."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import config
from job import machine

machine.set_threads(1)


def compiled_in(folder):
    """Environment variables with which XLA compiles a graph once and keeps it in `folder` for the processes that come later.

    The tests start the same few graphs in a hundred processes. Compiling them once saves about a tenth of their work.
    """
    flags = [flag for flag in os.environ.get("TF_XLA_FLAGS", "").split() if "persistent_cache_directory" not in flag]
    return {"TF_XLA_FLAGS": " ".join([*flags, f"--tf_xla_persistent_cache_directory={folder}"])}


if "PYTEST_XDIST_WORKER" not in os.environ:  # workers have the folder of the process that started them
    COMPILED = tempfile.TemporaryDirectory(prefix="compiled-", ignore_cleanup_errors=True)
    os.environ |= compiled_in(COMPILED.name)

import numpy as np  # noqa: E402  after the thread counts
import pytest  # noqa: E402
import threadpoolctl  # noqa: E402
from hypothesis import HealthCheck, settings  # noqa: E402

# The same inputs in each run of the tests; --hypothesis-profile=long has many, other ones each time.
_any = {"deadline": 10_000, "database": None, "suppress_health_check": list(HealthCheck)}
settings.register_profile("few", max_examples=30, derandomize=True, **_any)
settings.register_profile("long", max_examples=10_000, **_any)
settings.load_profile("few")

ROOT = Path(__file__).resolve().parent.parent
# The authors' own files, beside the checkout; docs/porting.md, "Tests", lists them. Tests that need a missing one are skipped.
LEGACY = ROOT.parent / "shared" / "legacy"
# Three ranks on two cores are refused by Open MPI unless it is told otherwise.
ENVIRONMENT = {
    **os.environ,
    "OMPI_MCA_rmaps_base_oversubscribe": "1",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
}
# ONEDNN_MAX_CPU_ISA makes a processor with AVX-512 compute as one without, but TensorFlow's bfloat16 products then crash.
PRECISIONS = machine.PRECISIONS if machine.bfloat16_allowed() else ("float32",)
needs_bfloat16 = pytest.mark.skipif(PRECISIONS == ("float32",), reason="ONEDNN_MAX_CPU_ISA leaves no bfloat16")
# A precision that --precision auto would not choose here, to test that a resumed stage keeps it.
OTHER_PRECISION = "--precision", next((name for name in PRECISIONS if name != machine.fast_precision()), "float32")


def needs_released(path, where):
    """A mark that skips a test where there is no LEGACY/`path`; `where`: the public repository and its folders that have it."""
    return pytest.mark.skipif(
        not (LEGACY / path).exists(), reason=f"the authors' files are not in ../shared/legacy/{path}: they come from {where}"
    )


def run_script(*arguments, ranks=0, check=True, environment=None, folder=ROOT):
    """Run `python ARGUMENTS`, under `mpirun -n RANKS` where ranks is given. Returns the finished process, its output as text.

    environment: additional environment variables. folder: where it is run.
    Raises AssertionError where it fails (unless check is False), and where a script of ours shows TensorFlow's own lines.
    """
    launcher = ["mpirun", "-n", str(ranks)] if ranks else []
    command = [*launcher, sys.executable, *map(str, arguments)]
    done = subprocess.run(
        command, cwd=folder, env=ENVIRONMENT | (environment or {}), capture_output=True, text=True, timeout=300
    )
    if check and done.returncode != 0:
        raise AssertionError(f"{command} ended with {done.returncode}:\n{done.stderr[-4000:]}")
    ours = arguments[0] != "-c" and not Path(arguments[0]).is_absolute()  # programs of tests may import as they like
    if ours and "All log messages before absl" in done.stderr:
        raise AssertionError(f"{command} imported TensorFlow without job.machine.load_tensorflow:\n{done.stderr[-4000:]}")
    return done


def make_run(folder, game_name):
    """A run with a small untrained V and M, and the first frames from which dreams start."""
    import keras

    from rnn.rnn import MDNRNN
    from vae.vae import ConvVAE

    game = config.GAMES[game_name]
    keras.utils.set_random_seed(7)
    rng = np.random.default_rng(7)
    for stage in ("vae", "rnn"):
        (folder / stage).mkdir(parents=True)
    ConvVAE(game.z_size, channels=8).save(folder / "vae" / "vae.keras")
    rnn = MDNRNN(game.z_size, game.action_size, 16, 5, **game.predicts)
    if game.predict_restart:  # in an untrained M either all dreams would end, or none
        kernel, bias = (weight.numpy() for weight in rnn.output_layer.weights)
        at = rnn.layout.slices["restart"].start
        kernel[:, at], bias[at] = rng.normal(0, 6, 16), -8
        rnn.output_layer.set_weights([kernel, bias])
    rnn.save(folder / "rnn" / "rnn.keras")
    first = [rng.integers(-20_000, 20_000, (30, game.z_size)), np.full((30, game.z_size), -20_000)]
    (folder / "rnn" / "initial_z.json").write_text(json.dumps([part.tolist() for part in first]))
    return folder


@pytest.fixture(autouse=True)
def one_blas_thread():
    """Reset NumPy to one core after each test: scripts that are called in this process may let it use all."""
    with threadpoolctl.threadpool_limits(1, "blas"):
        yield


@pytest.fixture(scope="session")
def car_run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("car"), "carracing")


@pytest.fixture(scope="session")
def pendulum_run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("pendulum"), "pendulum")


@pytest.fixture(scope="session")
def doom_run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("doom"), "doom")


# The modules that take longest, in that order. The rest takes less than half a minute each.
LONG = (
    "test_pipeline",
    "test_iterate",
    "test_docs",
    "test_demo",
    "test_population",
    "test_train",
    "test_rnn_train",
    "test_games",
    "test_legacy",
    "test_gradient",
    "test_ends",
    "test_notebook",
)


def pytest_collection_modifyitems(items):
    """Long modules first: workers get whole modules (--dist loadscope), and one that begins last must be short."""
    order = {name: i for i, name in enumerate(LONG)}
    items.sort(key=lambda item: order.get(item.module.__name__, len(LONG)))
