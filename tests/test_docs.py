"""README.md and the pages in docs/: their commands run, their links lead somewhere.

Commands in fenced blocks, and those of the README's table of stages, run in order at the smoke scale. A block whose fence says
"untested: REASON" is skipped with that reason. Its commands, and those in the text, only have to be valid command lines.
"""

import argparse
import glob
import importlib
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import ROOT

from config import UserError

PAGES = [Path("README.md"), *sorted(path.relative_to(ROOT) for path in (ROOT / "docs").glob("**/*.md"))]
FENCE = re.compile(r"^```(\w*) *(.*?)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# What is appended to a script's command line so that it takes seconds. The last value of an option counts.
SMALL = {
    "extract": "--scale smoke --episodes 4",
    "vae.train": "--scale smoke --epochs 1 --channels 32",  # the original's size, so that it can be exported
    "rnn.series": "--scale smoke",
    "rnn.train": "--scale smoke --epochs 1",
    "probe": "--scale smoke --episodes 1 --recorded 1",
    "train": "--scale smoke --generations 1 --population 4",
    "evaluate": "--scale smoke --episodes 2 --max-steps 80",
    "play": "--episodes 1",
    "demo.__main__": "",
    "iterate": "--scale smoke --iterations 1 --validation 1 --test 1",
    "controller.maps": "",
    "controller.rounds": "",
    "controller.state": "",
    "original.convert": "",
    "history": "",
}
BENCHMARKS = {f"bench.{name}" for name in ("__main__", "ceiling", "demos", "dreams", "faults", "soak", "trainings", "worlds")}
ELSEWHERE = {"bench.search_jax", "gymnasium.envs.box2d.car_racing"}  # at an earlier commit; Gymnasium's
PLACEHOLDERS = {"GAME": "carracing", "N": "2", "S": "1", "T": "1.0", "tT.json": "t1.0.json", "...": ""}


def blocks(page):
    """[(line, language, the reason why it is untested or "", text)] of the fenced blocks of a page."""
    text = (ROOT / page).read_text()
    found = FENCE.finditer(text)
    return [(text.count("\n", 0, m.start()) + 1, m[1], m[2].removeprefix("untested:").strip(), m[3]) for m in found]


def prose(page):
    """A page without its fenced blocks."""
    return FENCE.sub("", (ROOT / page).read_text())


def commands_in(text):
    """The commands of our scripts in the code spans of `text`."""
    spans = re.findall(r"`([^`]+)`", text)
    return [" ".join(span.split()) for span in spans if re.match(r"(mpirun -n \S+ )?python ", span)]


STAGES = commands_in("\n".join(line for line in prose("README.md").splitlines() if line.startswith("| ")))[:7]
BLOCKS = [pytest.param(page, *block, id=f"{page}:{block[0]}") for page in PAGES for block in blocks(page)]


def script_of(command):
    """(module, arguments) of a `python ...` command, which may begin with VARIABLE=value and mpirun."""
    words = [word for word in shlex.split(command, comments=True) if not re.match(r"[A-Z_]+=", word)]
    words = words[3:] if words[0] == "mpirun" else words
    assert words[0] == "python", command
    module, arguments = (words[2], words[3:]) if words[1] == "-m" else (words[1].removesuffix(".py"), words[2:])
    module += ".__main__" if (ROOT / module).is_dir() else ""
    arguments = [os.path.expanduser(PLACEHOLDERS.get(word.strip("[]"), word.strip("[]"))) for word in arguments]
    return module, [path for word in arguments if word for path in sorted(glob.glob(word)) or [word]]


class _Valid(Exception):
    pass


def check(command, monkeypatch):
    """Whether the script of `command` takes its options. Nothing is run."""
    module, arguments = script_of(command)
    if module in ELSEWHERE:
        return
    assert module in SMALL or module in BENCHMARKS, command
    parse = argparse.ArgumentParser.parse_args

    def parsed(self, *values, **keywords):
        parse(self, *values, **keywords)
        raise _Valid

    with monkeypatch.context() as patch, pytest.raises(_Valid):
        patch.setattr(argparse.ArgumentParser, "parse_args", parsed)
        try:
            importlib.import_module(module).main(arguments)
        except UserError as error:
            pytest.fail(f"{command}: {error}")


def run(command):
    """Run one line of a block, where the current folder is the workspace."""
    words = shlex.split(command, comments=True)
    if words[0] == "make":
        subprocess.run(["make", "-n", *words[1:]], cwd=ROOT, check=True, capture_output=True)
    elif words[0] in ("cp", "mkdir"):
        subprocess.run(words, check=True)
    elif words[0] != "source":
        module, arguments = script_of(command)
        importlib.import_module(module).main([*arguments, *SMALL[module].split()])


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    """A clone's folder with the runs that the pages speak of, and a home folder with a clone of the original.

    runs/carracing is made by the commands of the README's table of stages, the others of pretrained and untrained models.
    """
    folder, home = tmp_path_factory.mktemp("clone"), tmp_path_factory.mktemp("home")
    for path in ROOT.iterdir():
        if path.name not in ("runs", ".git", ".venv"):
            (folder / path.name).symlink_to(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("HOME", str(home))
        patch.setattr(os, "sched_getaffinity", lambda _: {0})  # so that no script starts itself under mpirun
        for command in STAGES:
            run(command)
        run("python extract.py doom")
        for stage in ("vae", "rnn", "controller"):
            shutil.copytree(f"pretrained/doom/{stage}", f"runs/doom/{stage}")
        original = home / "WorldModelsExperiments" / "carracing"
        original.parent.mkdir()
        run(f"python -m original.convert carracing --export {original}")
        for path in (original / "log").iterdir():
            path.rename(path.with_name(re.sub(r"cma\.\d+\.\d+", "cma.16.64", path.name)))
        yield folder


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 170


def test_the_table_of_stages_is_found():
    assert [script_of(command)[0] for command in STAGES] == list(SMALL)[:7]


@pytest.mark.parametrize("page, line, language, untested, text", BLOCKS)
def test_blocks_run(page, line, language, untested, text, workspace, pendulum_run, monkeypatch):
    assert language in ("bash", "python", "text"), f"{page}:{line}: a fence says bash, python or text"
    lines = [line for line in text.splitlines() if shlex.split(line, comments=True)] if language == "bash" else []
    if untested:
        for command in lines:
            if "python " in command:
                check(command, monkeypatch)
        pytest.skip(f"{page}:{line}: {untested}")
    if language == "python":
        if not os.path.exists("runs/pendulum"):
            os.symlink(pendulum_run, "runs/pendulum")
        exec(compile(text, f"{page}:{line}", "exec"), {})
    for command in lines:
        run(command)


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_commands_in_the_text_are_valid(page, monkeypatch):
    for command in commands_in(prose(page)):
        check(command, monkeypatch)


def anchors(page):
    """What GitHub calls the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_links_lead_to_files_and_headings(page):
    for path, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", prose(page)):
        target = Path(os.path.normpath(page.parent / path)) if path else page
        assert (ROOT / target).exists(), f"{page}: {path}"
        assert not anchor or anchor in anchors(target), f"{page}: {path}#{anchor}"


def test_every_page_can_be_reached_from_the_readme():
    reached, new = set(), {Path("README.md")}
    while new:
        reached |= new
        links = {(page.parent, path) for page in new for path in re.findall(r"\]\((?!https?:)([^)#]+\.md)", prose(page))}
        new = {Path(os.path.normpath(parent / path)) for parent, path in links} - reached
    assert reached == set(PAGES)
