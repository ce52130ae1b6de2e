"""The pool of workers under a real mpirun, how errors end a job, and the files that a user names."""

import os
import subprocess
import sys
import threading

import pytest
from conftest import ROOT, run_script

import extract
from config import UserError
from job import workers
from job.outputs import check_output, output

PROGRAM = """
import sys
import time
from config import UserError
from job.workers import Pool, run_script

def work(unit):
    if unit == "bad input" and {user_error}:
        raise UserError("this unit is bad: give another")
    if unit == "bad input":
        raise ZeroDivisionError("a bug")
    if unit == "full disk":
        with open("/dev/full", "w") as file:
            file.write("x")
    if unit == "a long one":
        time.sleep(60)
    return unit * 2

def main():
    pool = Pool()
    if "alone" in {units} and pool.rank == 1:
        raise UserError("this rank is alone: give it company")
    results = pool.map(work, {units})
    if pool.rank == 0:
        print(pool.size, results)

run_script(main)
"""


def _program(folder, units, user_error=False):
    path = folder / "program.py"
    path.write_text(f"import sys; sys.path.insert(0, {str(ROOT)!r})\n" + PROGRAM.format(units=units, user_error=user_error))
    return path


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_results_come_back_in_order(tmp_path, ranks):
    answer = run_script(_program(tmp_path, list(range(7))), ranks=ranks)
    assert answer.stdout == f"{ranks} {[0, 2, 4, 6, 8, 10, 12]}\n"


def test_a_bug_on_one_rank_ends_the_job_with_its_traceback(tmp_path):
    answer = run_script(_program(tmp_path, [1, "bad input"]), ranks=2, check=False)
    assert answer.returncode not in (0, 2) and "ZeroDivisionError: a bug" in answer.stderr


HOSTS = """
import socket
import time
from job import silence

def named(names):
    from mpi4py import MPI
    socket.gethostname = lambda: names[MPI.COMM_WORLD.rank]

class Cut(socket.socket):
    def recv(self, size):
        time.sleep(1)
        raise TimeoutError("timed out")

listen = silence._listen
if {cut}:
    silence._listen = lambda connection, *rest: listen(Cut(fileno=connection.detach()), *rest)
named({names})
"""


def _on_hosts(folder, names, cut=False):
    """The answer of a job whose ranks take themselves to be on hosts of these names."""
    program = _program(folder, ["a long one"] * 2 if cut else [0, 1, 2])
    lines = program.read_text().splitlines(keepends=True)
    program.write_text(lines[0] + HOSTS.format(names=names, cut=cut) + "".join(lines[1:]))
    return run_script(program, ranks=2, check=False)


def test_hosts_that_answer_are_watched_silently(tmp_path):
    answer = _on_hosts(tmp_path, ["localhost", "127.0.0.1"])
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, "2 [0, 2, 4]\n", "")


def test_a_host_that_cannot_be_watched_is_told_and_works(tmp_path):
    answer = _on_hosts(tmp_path, ["nowhere.invalid", "127.0.0.1"])
    assert answer.stdout == "2 [0, 2, 4]\n"
    assert answer.stderr.startswith("127.0.0.1 cannot be watched (")


def test_a_silent_host_ends_the_job(tmp_path):
    """tests/hosts.py cuts real ones off."""
    answer = _on_hosts(tmp_path, ["localhost", "127.0.0.1"], cut=True)
    assert answer.returncode != 0 and "no sign of life from 127.0.0.1: run the same command" in answer.stderr


def test_bad_input_on_one_rank_is_told_once_and_ends_all(tmp_path):
    answer = run_script(_program(tmp_path, [1, "bad input"], user_error=True), ranks=2, check=False)
    assert answer.returncode == 2
    assert answer.stderr.splitlines() == ["program.py: this unit is bad: give another"]


def test_bad_input_that_the_other_ranks_do_not_know_ends_them_too(tmp_path):
    answer = run_script(_program(tmp_path, ["alone", 1]), ranks=2, check=False)
    assert answer.returncode == 2 and "Traceback" not in answer.stderr
    assert answer.stderr.count("program.py: this rank is alone: give it company") == 1


def test_two_runs_of_one_name_are_told_once_and_end_all(tmp_path):
    first, second = (tmp_path / folder / "one" for folder in "ab")
    command = ["pendulum", "--episodes", "2", "--max-steps", "5", "-n", "1", "--run-dir"]
    for seed, run in enumerate((first, second)):
        extract.main([*command, str(run), "--seed", str(seed)])
    extract.main([*command, str(tmp_path / "both"), "--with", str(first)])
    answer = run_script("extract.py", *command, tmp_path / "all", "--with", second, tmp_path / "both", ranks=2, check=False)
    assert answer.returncode == 2 and answer.stderr.count("two runs have the same name") == 1


@pytest.mark.parametrize("ranks", [0, 2])
def test_a_full_disk_is_one_sentence_and_ends_all(tmp_path, ranks):
    answer = run_script(_program(tmp_path, [1, "full disk"]), ranks=ranks, check=False)
    sentence = "program.py: a file cannot be written (No space left on device): make room, and run the same command again"
    assert answer.returncode == 2 and sentence in answer.stderr.splitlines() and "Traceback" not in answer.stderr


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_disk_that_was_full_is_used_again(tmp_path, ranks):
    """Here a limit on the size of files, which an episode exceeds."""
    arguments = ["carracing", "--scale", "smoke", "--episodes", "3", "--run-dir", str(tmp_path / "run")]
    program = tmp_path / "program.py"
    program.write_text(
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "import resource, extract\n"
        "from job.workers import run_script\n"
        "from mpi4py import MPI\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        f"run_script(lambda: extract.main({arguments}))\n"
    )
    stopped = run_script(program, ranks=ranks, check=False)
    assert stopped.returncode == 2, stopped.stderr
    assert " cannot be written (File too large): make room" in stopped.stderr and "Traceback" not in stopped.stderr
    assert not list((tmp_path / "run").glob("record/*.npz"))
    assert "has 3 episodes" in run_script("extract.py", *arguments).stderr


def test_scripts_start_themselves_under_mpirun(tmp_path):
    answer = run_script("extract.py", "carracing", "--scale", "smoke", "--run-dir", tmp_path, "-n", "2")
    assert "2 workers" in answer.stderr
    assert len(list((tmp_path / "record").glob("*.npz"))) == 4


@pytest.mark.parametrize("count", [0, -2])
def test_number_of_workers_must_make_sense(count):
    with pytest.raises(UserError, match="num_worker"):
        workers.start(count, 4, "candidates")


RECORD = "extract.py", "carracing", "--scale", "smoke", "--max-steps", "5", "--run-dir"


def test_a_shell_in_a_slurm_step_is_no_rank(tmp_path):
    environment = {"SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "1"}
    assert "2 workers" in run_script(*RECORD, tmp_path, "-n", "2", environment=environment).stderr


def test_another_number_of_workers_than_the_launchers_is_not_ignored_silently(tmp_path):
    told = run_script(*RECORD, tmp_path, "-n", "2", ranks=1).stderr
    assert "--num_worker is 2, but the launcher has started 1: these do the work" in told
    assert "1 workers: episodes" in told


def test_main_called_from_python_has_one_worker(tmp_path):
    """It would otherwise start what it was called from, a notebook's kernel for one, under mpirun."""
    program = "import sys; sys.argv = ['kernel']; import extract; extract.main({})"
    command = ["carracing", "--scale", "smoke", "--max-steps", "5", "--run-dir", str(tmp_path)]
    assert "1 workers: episodes" in run_script("-c", program.format(command)).stderr
    refused = run_script("-c", program.format([*command, "-n", "2"]), check=False)
    assert "called from Python there is one" in refused.stderr


def test_systems_that_do_not_tell_the_cores_of_a_process(tmp_path):
    """macOS has no os.sched_getaffinity."""
    program = (
        "import os, runpy, sys; del os.sched_getaffinity; sys.argv = {!r}; runpy.run_path('extract.py', run_name='__main__')"
    )
    run_script("-c", program.format([*RECORD, str(tmp_path), "-n", "1"]))
    assert len(list((tmp_path / "record").glob("*.npz"))) == 4


def test_a_link_a_pipe_and_a_device_stay_what_they_are(tmp_path):
    target, link, fifo, device = (tmp_path / name for name in ("target.json", "link.json", "pipe.json", "null.json"))
    link.symlink_to(target)
    os.mkfifo(fifo)
    device.symlink_to("/dev/null")
    read = threading.Thread(target=lambda: told.append(fifo.read_text()))
    told = []
    read.start()
    for path in (link, fifo, device):
        check_output("--json", str(path))
        with output(str(path)) as temporary, open(temporary, "w") as file:
            file.write("result")
    read.join(10)
    assert link.is_symlink() and target.read_text() == "result" and told == ["result"]
    assert fifo.is_fifo() and os.path.realpath(device) == "/dev/null" and not os.path.isfile("/dev/null")


def test_standard_output_goes_on_where_it_is(tmp_path):
    log = tmp_path / "log.txt"
    log.write_text("before\n")
    program = (
        "from job.outputs import output\nprint('table')\nwith output('/dev/stdout') as name: open(name, 'w').write('result\\n')"
    )
    for mode in ("a", "w"):
        with log.open(mode) as file:
            subprocess.run([sys.executable, "-c", program + "\nprint('after')"], cwd=ROOT, stdout=file, check=True)
        assert log.read_text() == {"a": "before\n", "w": ""}[mode] + "table\nresult\nafter\n"


@pytest.mark.parametrize(
    "path, sentence",
    [
        (".", "a folder"),
        ("/proc/x.json", "cannot be written"),
        ("/dev/fd/999/x.json", "cannot be written"),
        ("x.gif", "ends in"),
    ],
)
def test_outputs_that_cannot_be_written_are_refused(path, sentence):
    with pytest.raises(UserError, match=sentence):
        check_output("--json", path, (".json",) if "." in path[1:] else ())


def test_an_output_that_fails_leaves_what_there_was(tmp_path):
    path = tmp_path / "kept.json"
    path.write_text("kept")
    with pytest.raises(ZeroDivisionError), output(str(path)) as temporary:
        with open(temporary, "w") as file:
            file.write("half")
        raise ZeroDivisionError
    assert path.read_text() == "kept" and os.listdir(tmp_path) == ["kept.json"]
