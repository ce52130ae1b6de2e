"""The order of imports, and that setup.py, requirements.lock and the Makefile agree with each other."""

import ast
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import setuptools

from config import GAMES, SCALES
from world_models import FLAT

ROOT = Path(__file__).parent.parent
# Modules in the order of imports: each imports only from itself and from earlier ones. bench and tests may import anything.
ORDER = ["config", "job", "original", "env", "vae", "rnn", "dream", "doomrnn", "controller", "scripts"]
# Two files of `original` convert whole runs, so they come last.
SCRIPTS = ["history", "extract", "train", "evaluate", "iterate", "probe", "original/convert", "original/export"]
RANK = {module: rank for rank, module in enumerate(ORDER)} | dict.fromkeys(SCRIPTS, len(ORDER) - 1)


def imported_modules(source, package=""):
    """Absolute names of what `source` imports, at any depth; `package` is where it is, for relative imports."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module == "world_models":
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield package if node.level else node.module


def imports_of_later(module, source):
    """The names that `source`, a file of `module`, imports although they come later, or are bench or tests."""
    names = {name.removeprefix("world_models.").replace(".", "/") for name in imported_modules(source, package=module)}
    names = {name if name in SCRIPTS else name.split("/")[0] for name in names}
    return {name for name in names if RANK.get(name, -1) > RANK[module] or name in ("bench", "tests")}


def files_of(module):
    file = ROOT / f"{module}.py"
    files = [file] if file.exists() else sorted((ROOT / module).glob("**/*.py"))
    return [file for file in files if module in SCRIPTS or str(file.relative_to(ROOT).with_suffix("")) not in SCRIPTS]


@pytest.mark.parametrize("module", [*ORDER[:-1], *SCRIPTS])
def test_modules_import_only_from_earlier_ones(module):
    assert files_of(module), f"{module} has no file"
    for file in files_of(module):
        found = imports_of_later(module, file.read_text())
        # config.GAMES is looked up in env when it is first used
        assert found == ({"env"} if module == "config" else set()), file


@pytest.mark.parametrize(
    "source",
    [
        "import controller",
        "from world_models.rnn.rnn import MDNRNN",
        "from world_models import rnn",
        "def f():\n    import train as t",
        "import bench.worlds",
        "import os, rnn.series",
    ],
)
def test_an_import_of_a_later_module_is_found(source):
    assert imports_of_later("vae", source)


def test_imports_of_earlier_modules_and_of_libraries_pass():
    source = (
        "import keras\nfrom world_models import config\nfrom world_models.env import record\n"
        "from . import vae\nfrom .vae import ConvVAE\nfrom train_tools import x"
    )
    assert imports_of_later("vae", source) == set()


@pytest.fixture
def metadata(monkeypatch):
    """The arguments that setup.py gives to setuptools."""
    given = {}
    monkeypatch.setattr(setuptools, "setup", lambda **arguments: given.update(arguments))
    runpy.run_path(str(ROOT / "setup.py"))
    return given


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The result of `pip install .`: a folder with world_models/."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("installed")
    ignore = shutil.ignore_patterns(".*", "runs", "build", "pretrained", "docs", "__pycache__", "*.egg-info")
    shutil.copytree(ROOT, source / "checkout", ignore=ignore)
    command = [sys.executable, "setup.py", "-q", "build", "--build-base", target / "build", "--build-lib", target / "lib"]
    subprocess.run(command, cwd=source / "checkout", check=True)
    return target / "lib"


def test_every_module_is_installed(installed):
    ours = [file.relative_to(ROOT) for file in ROOT.glob("*.py") if file.name != "setup.py"]
    ours += [file.relative_to(ROOT) for module in FLAT if module != "config" for file in (ROOT / module).glob("**/*.py")]
    names = {file.relative_to(installed).as_posix() for file in installed.glob("**/*.py")}
    assert names == {f"world_models/{name}" for name in ("__init__.py", *map(str, ours))}


PROJECT = """
import config, env, train, legacy
assert config.MINE and env.MINE
import gymnasium, world_models.env, world_models.doomrnn
print(gymnasium.make("WorldModels/Pendulum-v0").reset(seed=0)[0].shape)
print(gymnasium.make("world_models.env:WorldModels/CarRacing-v0", look="v3").reset(seed=0)[0].shape)
print(gymnasium.make("WorldModels/PendulumDream-v0", run_dir=RUN).reset(seed=0)[0].shape)
print(gymnasium.make_vec("WorldModels/PendulumDream-v0", num_envs=2, run_dir=RUN).reset(seed=0)[0].shape)
import config, env
assert config.MINE and env.MINE and world_models.config.GAMES
"""


@pytest.mark.parametrize("where", ["checkout", "installed"])
def test_a_project_may_have_its_own_config_and_env(where, installed, pendulum_run, tmp_path):
    """Our folder is last in Python's path, as after `make install` (the checkout) and after `pip install .`."""
    for name in ("env", "legacy"):
        (tmp_path / name).mkdir()
    for file in ("config.py", "train.py", "env/__init__.py", "legacy/__init__.py"):
        (tmp_path / file).write_text("MINE = True\n")
    place = ROOT if where == "checkout" else installed
    begin = "import sys\nsys.meta_path[:] = [finder for finder in sys.meta_path if 'editable' not in str(finder)]\n"
    begin += f"sys.path.append({str(place)!r})\nRUN = {str(pendulum_run)!r}\n"
    (tmp_path / "main.py").write_text(begin + PROJECT)
    done = subprocess.run([sys.executable, "main.py"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[:2] == ["(64, 64, 3)"] * 2


def minor(version):
    """(3, 10) of "3.10"."""
    return tuple(int(number) for number in version.split("."))


@pytest.mark.parametrize("python", ["3.10", "3.11", "3.12", "3.13"])
def test_the_lock_pins_every_requirement_above_its_lower_bound(metadata, python):
    pins = {}
    for line in (ROOT / "requirements.lock").read_text().splitlines():
        if line.startswith("#"):
            continue
        name, version, operator, bound = re.fullmatch(
            r'([a-z0-9-]+)==([0-9.]+)(?:; python_version (<|>=) "([0-9.]+)")?', line
        ).groups()
        if operator is None or (minor(python) < minor(bound)) == (operator == "<"):
            assert name not in pins, f"{name} has two versions for Python {python}"
            pins[name] = version
    wanted = metadata["install_requires"] + sum(metadata["extras_require"].values(), [])
    for requirement in wanted:
        name, bound = requirement.split(">=")
        assert minor(pins[name]) >= minor(bound), requirement
    assert {"swig", "setuptools", "mpich", "keras"} <= pins.keys()  # the Makefile installs the first three by name


def make(*arguments):
    return subprocess.run(["make", "-C", ROOT, *arguments], capture_output=True, text=True)


STAGES = ["extract.py", "-m vae.train", "-m rnn.series", "-m rnn.train", "probe.py", "train.py", "evaluate.py"]


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("game", GAMES)
def test_make_run_goes_through_all_stages(game, scale):
    lines = [line for line in make("-n", "run", f"GAME={game}", f"SCALE={scale}").stdout.splitlines() if "--run-dir" in line]
    arguments = f' {game} --scale {scale} --run-dir "runs/{game}" --seed 0'
    assert [line.split(arguments)[0] for line in lines] == [f"python {stage}" for stage in STAGES]


@pytest.mark.parametrize(
    "wrong, sentence", [("GAME=pong", "there is no game 'pong'"), ("SCALE=big", "there is no scale 'big'")]
)
def test_make_run_says_what_it_does_not_know(wrong, sentence):
    answer = make("run", wrong)
    assert answer.returncode == 2 and sentence in answer.stderr and "vae.train" not in answer.stdout


def test_continuous_integration_runs_the_tests():
    lines = (ROOT / ".ci" / "run").read_text().splitlines()
    assert "set -euo pipefail" in lines and lines[-1] == "make test"
