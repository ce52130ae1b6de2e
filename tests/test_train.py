"""train.py as users start it: under a real mpirun, killed and resumed, with the original's options, with bad input."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from conftest import ENVIRONMENT, OTHER_PRECISION, ROOT, run_script

import train
from config import UserError
from controller import search
from controller.search import shared_seeds
from job.seeds import episode_seeds
from rnn.rnn import load_rnn


def _copy(run, folder):
    """A run directory with only the models of `run`."""
    folder.mkdir()
    for stage in ("vae", "rnn"):
        (folder / stage).symlink_to(run / stage)
    return folder


def _history(folder):
    """hist.json without its second column, the seconds."""
    rows = json.loads((folder / "controller" / "hist.json").read_text())
    return [[value for i, value in enumerate(row) if i != 1] for row in rows]


def _best(folder):
    return (folder / "controller" / "best.json").read_text()


PROGRAM = """
import sys
sys.path.insert(0, {root!r})
from mpi4py import MPI
import evaluate, train
from controller import rollout

rank = MPI.COMM_WORLD.Get_rank()
from job import machine, rundir
rundir.fast_precision = lambda: machine.PRECISIONS[rank]
open_world = rollout.open_world
given = []

def watched(*arguments, **keywords):
    given.append(keywords.get("precision", arguments[-1]))
    return open_world(*arguments, **keywords)

rollout.open_world = watched
for script, *arguments in {commands!r}:
    dict(train=train, evaluate=evaluate)[script].main(arguments)
given = MPI.COMM_WORLD.gather(given)
if rank == 0:
    print("given", given)
"""


def _commands(car, doom):
    """Searches for both games' controllers, the car's shortened."""
    return [
        ["train", "carracing", "--scale", "smoke", "--max-steps", "20", "--run-dir", str(car)],
        ["train", "doom", "--scale", "smoke", "--run-dir", str(doom)],
    ]


@pytest.fixture(scope="module")
def two_ranks(car_run, doom_run, tmp_path_factory):
    """The output of two ranks, and their run directories. The second rank's processor seems to prefer bfloat16.

    All their work shares one start of TensorFlow.
    """
    folder = tmp_path_factory.mktemp("two")
    runs = _copy(car_run, folder / "car"), _copy(doom_run, folder / "doom")
    score = ["evaluate", "doom", "--run-dir", str(runs[1]), "--world", "dream", "--episodes", "32", "--max-steps", "40"]
    program = folder / "program.py"
    program.write_text(PROGRAM.format(root=str(ROOT), commands=[*_commands(*runs), score]))
    return run_script(program, ranks=2).stdout, runs


def test_any_number_of_workers_writes_the_same(car_run, doom_run, two_ranks, tmp_path):
    """One process not started under mpirun, and two that were. Three resume the search that is killed below."""
    one = _copy(car_run, tmp_path / "car"), _copy(doom_run, tmp_path / "doom")
    for _, *arguments in _commands(*one):
        train.main([*arguments, "--precision", "float32", "-n", "1"])
    for ours, other in zip(one, two_ranks[1], strict=True):
        history = _history(ours)
        assert len(history) == 2 and history[0][1:3] != history[1][1:3]
        assert _history(other) == history and _best(other) == _best(ours)
        params, score = json.loads(_best(ours))
        assert np.any(np.array(params) != 0) and np.isfinite(score)


def test_ranks_on_different_processors_use_the_arithmetic_of_the_first(two_ranks):
    """In the real game, in the dream, and in the evaluation."""
    told = [line for line in two_ranks[0].splitlines() if line.startswith("given")]
    assert told == [f"given {[['float32'] * 3] * 2}"]


LONGER = ("--generations", 5, "--episodes", 16, "--dream-max-steps", 1000)


def test_killed_run_goes_on_as_if_it_had_not_been(doom_run, tmp_path):
    """With two processes before that and three after it, as if one had run without interruption."""
    command = ("train.py", "doom", "--scale", "smoke", *LONGER, "--run-dir")
    whole, killed = _copy(doom_run, tmp_path / "whole"), _copy(doom_run, tmp_path / "killed")
    train.main([*map(str, command[1:]), str(whole), "-n", "1"])
    words = ["mpirun", "-n", "2", sys.executable, *map(str, command), str(killed)]
    job = subprocess.Popen(words, cwd=ROOT, env=ENVIRONMENT, start_new_session=True, stderr=subprocess.DEVNULL)
    history = killed / "controller" / "hist.json"
    while not history.exists() or len(json.loads(history.read_text())) < 2:
        assert job.poll() is None, "the run ended before it could be killed"
        time.sleep(0.005)
    for pid in _descendants(job.pid):
        os.kill(pid, signal.SIGKILL)
    job.wait()
    assert len(_history(killed)) < 5
    run_script(*command, killed, ranks=3)
    assert _best(killed) == _best(whole)
    assert _history(killed) == _history(whole)


def _descendants(pid):
    children = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                fields = open(f"/proc/{name}/stat").read().rsplit(")", 1)[1].split()
            except OSError:
                continue
            if int(fields[1]) == pid:
                children.append(int(name))
    return [pid, *(descendant for child in children for descendant in _descendants(child))]


def test_finished_run_is_left_alone_and_can_be_made_longer(doom_run, tmp_path):
    folder = _copy(doom_run, tmp_path / "run")
    arguments = ["doom", "--scale", "smoke", "-n", "1", "--run-dir", str(folder)]
    train.main([*arguments, *OTHER_PRECISION])
    before = _history(folder)
    train.main(arguments)
    assert _history(folder) == before
    train.main([*arguments, "--generations", "3"])
    assert _history(folder)[:2] == before and len(_history(folder)) == 3


def test_a_stopped_search_can_be_ended_where_it_is(doom_run, tmp_path, monkeypatch):
    """Its mean, which was to be evaluated later, is evaluated then."""
    folder = _copy(doom_run, tmp_path / "run")
    command = ["doom", "--scale", "smoke", "-n", "1", "--run-dir", str(folder), "--eval-steps", "3", "--generations"]

    def stop(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(search, "_report", stop)
        train.main([*command, "3"])
    assert len(_history(folder)) == 1 and not (folder / "controller" / "best.json").exists()
    train.main([*command, "1"])
    assert len(_history(folder)) == 1 and (folder / "controller" / "mean-000001.json").read_text() == _best(folder)
    before = (folder / "controller" / "hist_best.json").read_text()
    train.main([*command, "1"])
    assert (folder / "controller" / "hist_best.json").read_text() == before


def test_other_seed_gives_another_history(doom_run, tmp_path):
    for seed in ("0", "1"):
        folder = _copy(doom_run, tmp_path / seed)
        train.main(["doom", "--scale", "smoke", "-n", "1", "--seed", seed, "--run-dir", str(folder)])
    assert _history(tmp_path / "0") != _history(tmp_path / "1")


def test_options_of_the_original_are_understood():
    command = (
        "doomrnn -o cma -n 16 -t 4 -e 8 --eval_steps 10 --antithetic 1 --cap_time 1 -s 3 --sigma_init 0.5 --sigma_decay 0.999"
    )
    game, args = train._parse(command.split())
    assert (game.name, args.world, args.seed, args.cap_time) == ("doom", "dream", 3, 1)
    assert (game.controller_population, game.controller_episodes, game.controller_eval_steps) == (64, 8, 10)
    assert (game.controller_sigma_init, game.controller_seeds) == (0.5, "pairs")
    assert train._parse(["doomreal", "--antithetic", "0"])[0].controller_seeds == "own"
    assert train._parse(["doomreal"])[1].world == "real"


@pytest.mark.parametrize("how, different", [("pairs", 32), ("one", 1), ("own", 64)])
def test_seeds_are_shared_as_asked(how, different):
    shared = shared_seeds(how, 64)
    assert len(shared) == 64 and sorted(set(shared)) == list(range(different))
    assert {shared.count(seed) for seed in shared} == {64 // different}


def test_seeds_of_more_episodes_begin_with_those_of_fewer():
    assert episode_seeds(16, 0, 1, 2)[:5] == episode_seeds(5, 0, 1, 2)
    assert len({seed for k in range(50) for seed in episode_seeds(16, 0, 1, k)}) == 800


def _refused(*arguments, ranks=0):
    """The single sentence on stderr for bad input."""
    done = run_script("train.py", *arguments, ranks=ranks, check=False)
    assert done.returncode == 2, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("train.py: ")]
    assert len(lines) == 1 and "Traceback" not in done.stderr
    return lines[0]


def test_unknown_game_is_refused_by_all_ranks_in_one_sentence():
    assert "'chess'" in _refused("chess", ranks=2)


def test_missing_model_names_the_command_that_makes_it(tmp_path):
    assert "python -m rnn.train doom" in _refused("doom", "--run-dir", tmp_path, ranks=1)
    assert os.listdir(tmp_path) == []


def test_more_workers_than_work_are_refused():
    assert "5 workers" in _refused("doom", "--population", 4, "-n", 5)
    assert "5 workers" in _refused("doom", "--population", 4, ranks=5)


def test_nan_in_the_weights_is_named(doom_run, tmp_path):
    from rnn.rnn import load_rnn

    rnn = load_rnn(doom_run / "rnn" / "rnn.keras")
    kernel, bias = rnn.output_layer.get_weights()
    bias[3] = np.nan
    rnn.output_layer.set_weights([kernel, bias])
    (tmp_path / "rnn").mkdir()
    rnn.save(tmp_path / "rnn" / "rnn.keras")
    (tmp_path / "rnn" / "initial_z.json").write_text((doom_run / "rnn" / "initial_z.json").read_text())
    with pytest.raises(UserError, match="rnn.keras.*not finite"):
        train.main(["doom", "--scale", "smoke", "-n", "1", "--run-dir", str(tmp_path)])
    assert not (tmp_path / "controller" / "hist.json").exists()


def test_checkpoint_of_other_settings_is_kept(doom_run, tmp_path):
    folder = _copy(doom_run, tmp_path / "run")
    arguments = ["doom", "--scale", "smoke", "-n", "1", "--run-dir", str(folder)]
    train.main(arguments)
    before = _best(folder)
    with pytest.raises(UserError, match="--sigma-init 0.1, not 0.2"):
        train.main([*arguments, "--sigma-init", "0.2"])
    with pytest.raises(UserError, match="--seed 0, not 5"):
        train.main([*arguments, "--seed", "5"])
    assert _best(folder) == before


def test_folder_in_use_is_refused(doom_run, tmp_path):
    from job.rundir import Stage

    folder = _copy(doom_run, tmp_path / "run")
    with Stage(str(folder), "controller", {}, 0), pytest.raises(UserError, match="in use"):
        train.main(["doom", "--scale", "smoke", "-n", "1", "--run-dir", str(folder)])


@pytest.mark.parametrize(
    "option",
    [
        ["--seed", "-1"],
        ["--seed", str(2**32)],
        ["--temperature", "0"],
        ["--temperature", "-1"],
        ["--episodes", "0"],
        ["--mode", "x"],
    ],
)
def test_bad_value_names_its_option(option):
    with pytest.raises(UserError, match=option[0]):
        train.main(["doom", *option])


def test_dream_of_the_car_has_nothing_to_learn_from():
    with pytest.raises(UserError, match="rnn.train --predict-reward"):
        train.main(["carracing", "--world", "dream"])


def test_dreams_that_diverge_count_as_the_worst_and_end_nothing(pendulum_run, tmp_path):
    """Here one Gaussian of each mixture is infinitely wide, and two infinite numbers of z have no sum."""
    shutil.copytree(pendulum_run, tmp_path, dirs_exist_ok=True)
    rnn = load_rnn(str(tmp_path / "rnn" / "rnn.keras"))
    kernel, bias = rnn.output_layer.get_weights()
    gaussians = np.arange(bias.size)[rnn.layout.slices["mixture"]].reshape(rnn.z_size, 3, rnn.num_mixture)
    bias[gaussians[:, 0, 0]], bias[gaussians[:, 2, 0]] = -1.5, 100
    rnn.output_layer.set_weights([kernel, bias])
    rnn.save(tmp_path / "rnn" / "rnn.keras")
    small = ["--scale", "smoke", "--run-dir", tmp_path, "-n", "2"]
    done = run_script("train.py", "pendulum", *small, "--population", "8", "--eval-episodes", "40")
    assert "candidates diverged" in done.stderr and "episodes diverged" in done.stderr
    assert np.isfinite(json.loads((tmp_path / "controller" / "hist.json").read_text())).all()
    params, score = json.loads((tmp_path / "controller" / "best.json").read_text())
    assert np.isfinite([*params, score]).all()
    bias[gaussians[:, 0, 0]] = 7
    rnn.output_layer.set_weights([kernel, bias])
    rnn.save(tmp_path / "rnn" / "rnn.keras")
    done = run_script("train.py", "pendulum", *small, "--name", "none", check=False)
    assert done.returncode == 2 and "train M again, this one diverges" in done.stderr.splitlines()[-1]
