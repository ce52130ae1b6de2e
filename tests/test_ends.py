"""How jobs end: signals to the command, to the whole job, to a rank; nothing is left behind."""

import mmap
import os
import signal
import time

import pytest
from conftest import ENVIRONMENT, ROOT, run_script

from bench.faults import Job


def wait_for(job, condition, seconds=60):
    until = time.time() + seconds
    while not condition():
        assert job.process.poll() is None and time.time() < until, "it ended, or did not come so far"
        time.sleep(0.05)


@pytest.fixture
def recording(tmp_path, request):
    """A job that has recorded some episodes of a game, and would record for hours."""
    job = Job(["extract.py", request.param, "--episodes", "9000", "--run-dir", tmp_path, "-n", "2"], ENVIRONMENT)
    try:
        wait_for(job, lambda: len(list(tmp_path.glob("record/*.npz"))) > 3)
        yield job
    finally:
        job.kill()


@pytest.mark.parametrize("recording", ["doom", "pendulum"], indirect=True)
@pytest.mark.parametrize("number, whom", [(signal.SIGTERM, "command"), (signal.SIGINT, "command"), (signal.SIGTERM, "all")])
def test_a_signal_ends_the_whole_job_in_order(recording, number, whom):
    belongings = recording.belongings()
    recording.send(number, recording.pids() if whom == "all" else [recording.process.pid])
    status, told = recording.ended()
    assert status == 128 + number
    assert told[-1] == f"extract.py: stopped by {number.name}: run the same command again to go on"
    assert not any("Traceback" in line for line in told), told
    assert not [path for path in belongings if os.path.exists(path)]


@pytest.mark.parametrize("recording", ["pendulum"], indirect=True)
def test_a_killed_command_takes_its_workers_along(recording):
    os.kill(recording.process.pid, signal.SIGKILL)
    assert recording.ended()[0] == -signal.SIGKILL


def test_a_signal_is_told_whatever_c_code_makes_of_it(tmp_path):
    """As where NumPy's C code imports a module: what is raised there becomes an ImportError."""
    program = tmp_path / "program.py"
    program.write_text(f"""
import os, signal, sys
sys.path.insert(0, {str(ROOT)!r})
from job import workers

def main():
    try:
        os.kill(os.getpid(), signal.SIGTERM)
    except BaseException:
        raise ImportError("a module failed to import")

workers.run_script(main)
""")
    done = run_script(program, check=False)
    assert done.returncode == 143 and done.stderr == "program.py: stopped by SIGTERM: run the same command again to go on\n"


SLOW_START = """
import os, pathlib, sys, time
sys.path.insert(0, {root!r})
from job import workers

def wait(*_):
    if os.environ.get("PMI_RANK", os.environ.get("OMPI_COMM_WORLD_RANK")) == "0":
        pathlib.Path({sign!r}).touch()
        time.sleep(100)

def main():
    if workers._launched() and {before_mpi}:
        wait()
    workers.remove_unused = wait
    workers.start(2, 2, "units")

workers.run_script(main)
"""


@pytest.mark.parametrize("before_mpi", [True, False])
def test_a_command_that_is_killed_while_its_workers_wait_for_each_other_takes_them_along(tmp_path, before_mpi):
    """In MPI's start, or right after it: rank 1 is in MPI's code, where Python heeds no signal."""
    sign, program = tmp_path / "sign", tmp_path / "program.py"
    program.write_text(SLOW_START.format(root=str(ROOT), sign=str(sign), before_mpi=before_mpi))
    job = Job([program], ENVIRONMENT)
    try:
        wait_for(job, sign.exists)
        time.sleep(1)
        os.kill(job.process.pid, signal.SIGKILL)
        assert job.ended(20)[0] == -signal.SIGKILL
    finally:
        job.kill()


@pytest.mark.parametrize("recording", ["doom"], indirect=True)
def test_a_killed_rank_ends_the_job_and_nothing_of_its_games_is_left(recording):
    belongings = recording.belongings()
    os.kill(recording.ranks()[0], signal.SIGKILL)
    status, _ = recording.ended()
    assert status != 0 and belongings
    assert not [path for path in belongings if os.path.exists(path)]


def test_ctrl_c_ends_a_search(car_run, tmp_path):
    """As a terminal sends it, to all of the job at once, while ranks wait for each other."""
    for stage in ("vae", "rnn"):
        (tmp_path / stage).symlink_to(car_run / stage)
    search = ["train.py", "carracing", "--scale", "smoke", "--generations", "400", "--eval-steps", "200"]
    job = Job([*search, "--run-dir", tmp_path, "-n", "2"], ENVIRONMENT)
    history = tmp_path / "controller" / "hist.json"
    try:
        wait_for(job, history.exists)
        job.send(signal.SIGINT, job.pids())
        status, told = job.ended()
        assert status == 130
        assert told[-1] == "train.py: stopped by SIGINT: run the same command again to go on"
    finally:
        job.kill()


def test_shared_memory_of_killed_ranks_is_removed_by_the_next_job(tmp_path):
    """Not that which a process uses, nor that which is new: its owner may be about to use it."""
    names = ["/dev/shm/mpich_shm_fffffff1_0", "/dev/shm/mpich_shm_fffffff2_0", "/dev/shm/mpich_shm_fffffff3_0"]
    try:
        for name in names:
            with open(name, "wb") as file:
                file.write(bytes(4096))
        for name in names[:2]:
            os.utime(name, (time.time() - 100,) * 2)
        with open(names[1], "r+b") as file, mmap.mmap(file.fileno(), 4096):
            run_script("extract.py", "carracing", "--scale", "smoke", "--run-dir", tmp_path, "-n", 2)
        assert [os.path.exists(name) for name in names] == [False, True, True]
    finally:
        for name in names:
            if os.path.exists(name):
                os.remove(name)
