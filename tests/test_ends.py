"""How jobs end: signals to the command, to the whole job, to a rank; nothing is left behind."""

import contextlib
import glob
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

import numpy as np
import pytest
from conftest import ENVIRONMENT, ROOT

import env
from config import GAMES


class Job:
    """A script with two workers, in a session of its own."""

    def __init__(self, folder, *command):
        self.mark = f"MARK={uuid.uuid4()}"
        name, _, value = self.mark.partition("=")
        self.process = subprocess.Popen(
            [sys.executable, *command, "--run-dir", str(folder), "-n", "2"],
            cwd=ROOT,
            env={**ENVIRONMENT, name: value},
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=_heed,
        )

    def pids(self):
        """Those of all processes that the job has started."""
        found = []
        for path in glob.glob("/proc/[0-9]*/environ"):
            try:
                marked = self.mark.encode() in Path(path).read_bytes()
                status = Path(path).with_name("stat").read_text().rsplit(")", 1)[1].split()[0]
            except OSError:
                continue
            if marked and status != "Z":
                found.append(int(path.split("/")[2]))
        return found

    def ranks(self):
        """The pids of its ranks, which have the script's name among their arguments and MPI's rank in their environment."""
        return [pid for pid in self.pids() if b"PMI_RANK=" in Path(f"/proc/{pid}/environ").read_bytes() and _is_python(pid)]

    def belongings(self):
        """The shared memory and the folders that its games have now."""
        found = set()
        for pid in self.pids():
            with contextlib.suppress(OSError):
                found |= set(re.findall(r"/dev/shm/ViZDoom\S+", Path(f"/proc/{pid}/maps").read_text()))
            found |= set(glob.glob(os.path.join(tempfile.gettempdir(), f"take-cover-{pid}-*")))
        return found

    def wait_for(self, condition, seconds=60):
        until = time.time() + seconds
        while not condition():
            assert self.process.poll() is None and time.time() < until, "it ended, or did not come so far"
            time.sleep(0.05)

    def ended(self, seconds=60):
        """(exit status, its lines on stderr), after all of its processes have ended."""
        told = self.process.communicate(timeout=seconds)[1].splitlines()
        until = time.time() + 20
        while self.pids() and time.time() < until:
            time.sleep(0.1)
        assert self.pids() == []
        return self.process.returncode, told


def _heed():
    """In the new process: no signal is ignored, as SIGINT is where the tests themselves run in a shell's background."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def _is_python(pid):
    return b"python" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0]


@pytest.fixture
def recording(tmp_path, request):
    """A job that has recorded some episodes of a game, and would record for hours."""
    job = Job(tmp_path, "extract.py", request.param, "--episodes", "9000")
    try:
        job.wait_for(lambda: len(list(tmp_path.glob("record/*.npz"))) > 3)
        yield job
    finally:
        for pid in job.pids():
            os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("recording", ["doom", "pendulum"], indirect=True)
@pytest.mark.parametrize("number, whom", [(signal.SIGTERM, "command"), (signal.SIGINT, "command"), (signal.SIGTERM, "all")])
def test_a_signal_ends_the_whole_job_in_order(recording, number, whom):
    belongings = recording.belongings()
    for pid in recording.pids() if whom == "all" else [recording.process.pid]:
        os.kill(pid, number)
    status, told = recording.ended()
    assert status == 128 + number
    assert told[-1] == f"extract.py: stopped by {number.name}: run the same command again to go on"
    assert not any("Traceback" in line for line in told), told
    assert not [path for path in belongings if os.path.exists(path)]


@pytest.mark.parametrize("recording", ["pendulum"], indirect=True)
def test_a_killed_command_takes_its_workers_along(recording):
    os.kill(recording.process.pid, signal.SIGKILL)
    assert recording.ended()[0] == -signal.SIGKILL


@pytest.mark.parametrize("recording", ["doom"], indirect=True)
def test_a_killed_rank_ends_the_job_and_its_remains_are_tidied_away(recording):
    belongings = recording.belongings()
    os.kill(recording.ranks()[0], signal.SIGKILL)
    status, _ = recording.ended()
    assert status != 0
    remains = [path for path in belongings if os.path.exists(path)]
    assert remains
    for path in remains:
        os.utime(path, (0, 0))  # as if it had been long ago
    world = env.make(GAMES["doom"])
    world.reset(seed=0)
    world.step(np.zeros(1))
    world.close()
    assert not [path for path in remains if os.path.exists(path)]


def test_ctrl_c_ends_a_search(car_run, tmp_path):
    """As a terminal sends it, to all of the job at once, while ranks wait for each other."""
    for stage in ("vae", "rnn"):
        (tmp_path / stage).symlink_to(car_run / stage)
    job = Job(tmp_path, "train.py", "carracing", "--scale", "smoke", "--generations", "400", "--eval-steps", "200")
    history = tmp_path / "controller" / "hist.json"
    try:
        job.wait_for(history.exists)
        for pid in job.pids():
            os.kill(pid, signal.SIGINT)
        status, told = job.ended()
        assert status == 130
        assert told[-1] == "train.py: stopped by SIGINT: run the same command again to go on"
    finally:
        for pid in job.pids():
            os.kill(pid, signal.SIGKILL)
