"""The pool of workers under a real mpirun: the order of results, and how errors end a job."""

import pytest
from conftest import ROOT, run_script

from config import UserError
from job import workers

PROGRAM = """
import sys
from config import UserError
from job.workers import Pool, run_script

def work(unit):
    if unit == "bad input" and {user_error}:
        raise UserError("this unit is bad: give another")
    if unit == "bad input":
        raise ZeroDivisionError("a bug")
    return unit * 2

def main():
    pool = Pool()
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


def test_bad_input_on_one_rank_is_told_once_and_ends_all(tmp_path):
    answer = run_script(_program(tmp_path, [1, "bad input"], user_error=True), ranks=2, check=False)
    assert answer.returncode == 2
    assert answer.stderr.splitlines() == ["program.py: this unit is bad: give another"]


def test_scripts_start_themselves_under_mpirun(tmp_path):
    answer = run_script("extract.py", "carracing", "--scale", "smoke", "--run-dir", tmp_path, "-n", "2")
    assert "2 workers" in answer.stderr
    assert len(list((tmp_path / "record").glob("*.npz"))) == 4


@pytest.mark.parametrize("count", [0, -2])
def test_number_of_workers_must_make_sense(count):
    with pytest.raises(UserError, match="num_worker"):
        workers.start(count, 4, "candidates")
