"""The iterative procedure: rounds that are runs, resumed, on any number of workers."""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
from conftest import ENVIRONMENT, ROOT, run_script
from PIL import Image

import iterate
from config import GAMES, UserError
from controller import maps, rounds
from controller.maps import coverage
from env.pendulum import Pendulum, angle_and_speed
from env.record import in_a_pass, linked_name
from job.rundir import Stage, digest

COMMAND = ["iterate.py", "pendulum", "--scale", "smoke", "--validation", "2", "--test", "3", "--curiosity", "5", "--iterations"]


def start(run_dir, rounds, workers):
    command = [sys.executable, *COMMAND, str(rounds), "--run-dir", str(run_dir), "-n", str(workers)]
    return subprocess.Popen(command, cwd=ROOT, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True, start_new_session=True)


def rows(run_dir):
    """rounds.jsonl without the hours."""
    lines = (run_dir / "rounds" / "rounds.jsonl").read_text().splitlines()
    return [{name: value for name, value in json.loads(line).items() if name != "hours"} for line in lines]


@pytest.fixture(scope="module")
def two_rounds(tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("two")
    assert start(run_dir, 2, workers=1).wait(300) == 0
    return run_dir


def test_a_round_has_what_the_procedure_needs(two_rounds):
    first, second = rows(two_rounds)
    assert [first["round"], second["round"]] == [1, 2]
    assert first["search"] == "zero" and second["search"] in ("zero", "last")
    # Four recorded episodes of 40 steps a round, and two validation episodes of 200 for each new controller.
    assert [first["real_frames"], second["real_frames"]] == [160 + 400, 160 + 400 + 160 + 800]
    assert {"dream", "real", "real_low", "real_high", "validation", "nll", "reward", "action"} <= second.keys()
    folder = two_rounds / "rounds"
    names = sorted(path.name for path in (folder / "02" / "record").glob("*.npz"))
    assert names == [f"{i:06d}.npz" for i in range(4)] + [f"01-{i:06d}.npz" for i in range(4)]
    assert os.path.samefile(folder / "02" / "record" / "01-000000.npz", folder / "01" / "record" / "000000.npz")
    settings = {
        stage: json.loads((folder / "02" / stage / "config.json").read_text())["settings"] for stage in ("record", "rnn")
    }
    assert settings["record"]["explore"] == 0.3 and settings["record"]["curiosity"] == 5 and settings["rnn"]["half_new"]
    assert settings["rnn"]["start"] == digest(folder / "01" / "rnn" / "rnn.keras")
    chosen = json.loads((folder / "02" / "controller" / "chosen.json").read_text())
    best = chosen["search"]
    assert chosen["validation"][best] == max(chosen["validation"].values()) == second["validation"]
    same = [(folder / "02" / name / "best.json").read_text() for name in ("controller", f"controller-{best}")]
    assert same[0] == same[1]
    dream, test = (json.loads((folder / "02" / "evaluate" / f"{world}-test.json").read_text()) for world in ("dream", "real"))
    assert [dream["mean"], test["mean"]] == [second["dream"], second["real"]]
    assert test["seeds"] == json.loads((folder / "01" / "evaluate" / "real-test.json").read_text())["seeds"]


def test_a_round_that_was_killed_ends_as_if_it_had_not_been(two_rounds, tmp_path):
    """In the middle of the search for C, with two workers where there was one."""
    process = start(tmp_path, 1, workers=2)
    waited = time.time() + 200
    while not (tmp_path / "rounds" / "01" / "controller-zero" / "hist.json").exists():
        assert process.poll() is None and time.time() < waited
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if (tmp_path / "rounds" / "rounds.jsonl").exists():
        pytest.fail("the round was over before it was killed")
    assert start(tmp_path, 1, workers=2).wait(300) == 0
    assert rows(tmp_path) == rows(two_rounds)[:1]
    before = (tmp_path / "rounds" / "rounds.jsonl").read_text()
    assert start(tmp_path, 1, workers=1).wait(300) == 0  # nothing is left to do
    assert (tmp_path / "rounds" / "rounds.jsonl").read_text() == before


def test_the_first_round_goes_on_from_an_earlier_run(car_run, tmp_path):
    """Its V stays, and its M, which predicted no rewards, learns to."""
    small = ["--rnn-size", 16, "--vae-min-gain", 1, "--validation", 1, "--test", 1, "--iterations", 1, "-n", 1]
    run_script("iterate.py", "carracing", "--scale", "smoke", "--start", car_run, "--run-dir", tmp_path, *small)
    (row,) = rows(tmp_path)
    assert row["real_frames"] == 4 * 60 + 1000 and {"reward", "nll", "dream", "real"} <= row.keys()
    first = tmp_path / "rounds" / "01"
    assert digest(first / "vae" / "vae.keras") == digest(car_run / "vae" / "vae.keras")
    settings = json.loads((first / "rnn" / "config.json").read_text())["settings"]
    assert settings["predict_reward"] and settings["start"] == digest(car_run / "rnn" / "rnn.keras")
    scored = json.loads((first / "evaluate" / "dream-test.json").read_text())
    assert len(scored["scores"]) == iterate.DREAMS and scored["mean"] == row["dream"]
    done = run_script("iterate.py", "carracing", "--start", tmp_path / "nothing", check=False)
    assert done.returncode == 2 and "nothing/vae/vae.keras is missing" in done.stderr.splitlines()[-1]


def _round(tmp_path, number, **options):
    args = argparse.Namespace(**({"run_dir": str(tmp_path), "start": None, "look": None, "preprocess": None} | options))
    return iterate.Round(replace(GAMES["carracing"], vae_min_gain=0.01), args, None, None, number)


def test_v_is_kept_for_good_once_a_round_has_kept_it(tmp_path):
    for name, content in (("start", "V"), ("rounds/01", "V"), ("rounds/02", "another"), ("rounds/03", "another")):
        path = tmp_path / name / "vae" / "vae.keras"
        path.parent.mkdir(parents=True)
        path.write_text(content)
    assert [_round(tmp_path, number)._v_stays() for number in (1, 2, 3, 4)] == [False, False, False, True]
    assert [_round(tmp_path, number, start=str(tmp_path / "start"))._v_stays() for number in (1, 2)] == [False, True]


def test_the_first_round_is_recorded_as_the_run_that_it_starts_from(tmp_path):
    start = str(tmp_path / "start")
    with Stage(start, "vae", {"look": "v3", "preprocess": "legacy"}, 0):
        pass
    assert _round(tmp_path, 1, start=start)._world() == ["--look", "v3", "--preprocess", "legacy"]
    assert _round(tmp_path, 1, start=start, look="v0")._world() == ["--look", "v0", "--preprocess", "legacy"]
    assert _round(tmp_path, 1)._world() == ["--look", "v0", "--preprocess", "paper"]


def test_half_of_a_pass_is_new():
    names = [f"{i:06d}.npz" for i in range(3)] + [f"01-{i:06d}.npz" for i in range(50)]
    rng = np.random.default_rng(0)
    passes = [in_a_pass(names, True, rng).tolist() for _ in range(20)]
    assert all(len(chosen) == 6 and {0, 1, 2} < set(chosen) for chosen in passes)
    assert len({i for chosen in passes for i in chosen}) > 30  # others each time
    assert sorted(in_a_pass(names, False, rng)) == list(range(53))
    assert sorted(in_a_pass(names[:5], True, rng)) == list(range(5))


def test_an_episode_keeps_the_name_of_the_run_it_was_recorded_for():
    assert linked_name("000001.npz", "02") == "02-000001.npz"
    assert linked_name("01-000001.npz", "02") == "01-000001.npz"
    assert linked_name("mirrored-000001.npz", "02") == "mirrored-02-000001.npz"
    assert linked_name("mirrored-01-000001.npz", "02") == "mirrored-01-000001.npz"


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (["carracing", "--no-predict-reward"], "the dream of carracing has no reward"),
        (["pendulum", "--iterations", "0"], "--iterations is 0"),
        (["pendulum", "--seed", "20240101"], "--seed is 20240101, and a round's is 1000 times as large"),
        (["pendulum", "--validation", "0"], "--validation is 0"),
        (["pendulum", "--explore", "2"], "--explore is 2"),
        (["pendulum", "--gain"], "without --curiosity nothing asks"),
        (["doom", "--rnn-anywhere"], "--anywhere is for an M"),
        (["pendulum", "--rnn-epochs", "0"], "--rnn-epochs is 0: give a number above 0"),
        (["pendulum", "--vae-min-gain", "-1"], "--vae-min-gain is -1.0: give a number of 0 or more"),
    ],
)
def test_impossible_rounds_are_refused(arguments, sentence):
    with pytest.raises(UserError, match=sentence):
        iterate.main(arguments)


def test_rounds_are_told_drawn_and_filmed(two_rounds, tmp_path, capsys):
    picture, film, map_ = (str(tmp_path / name) for name in ("rounds.png", "rounds.webp", "maps.png"))
    rounds.main([str(two_rounds), "--out", picture, "--film", film, "--maps", map_])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == str(two_rounds) and [line.split()[:2] for line in lines[2:]] == [["1", "560"], ["2", "1520"]]
    for path in (picture, map_):
        with open(path, "rb") as file:
            assert file.read(4) == b"\x89PNG"
    with Image.open(film) as moving:
        assert moving.size == (4 * (4 * 64 + rounds.GAP), 4 * 64) and moving.n_frames > 100  # equal frames are merged


@pytest.mark.parametrize(
    "options, sentence",
    [
        (["--rounds", "3", "--maps", "maps.png"], "has no finished round 3: it has 1 to 2"),
        (["--film", "film.gif"], "--film is film.gif"),
    ],
)
def test_impossible_figures_are_refused(two_rounds, tmp_path, options, sentence):
    with pytest.raises(UserError, match=sentence):
        rounds.main([str(two_rounds), "--out", str(tmp_path / "rounds.png"), *options])


def test_a_run_without_rounds_is_said(tmp_path):
    with pytest.raises(UserError, match="has no finished round"):
        rounds.main([str(tmp_path), "--out", str(tmp_path / "rounds.png")])


def test_a_map_has_all_that_was_visited_up_to_its_round(two_rounds, capsys):
    folder = two_rounds / "rounds"
    seen = [coverage(GAMES["pendulum"], str(folder / name)) for name in ("01", "02")]
    assert 0 < seen[0] < seen[1] < 1
    cells = 24 * 16
    assert round(seen[0] * cells) == pytest.approx(seen[0] * cells)
    maps.main(["pendulum", *(str(folder / name) for name in ("01", "02"))])
    lines = capsys.readouterr().out.splitlines()
    assert [float(line.split("%")[0]) for line in lines] == [pytest.approx(100 * share, abs=0.06) for share in seen]
    with pytest.raises(UserError, match="carracing has no map"):
        maps.main(["carracing", str(folder)])


def test_the_angle_is_read_from_the_picture():
    world, rng = Pendulum("anywhere"), np.random.default_rng(0)
    frames, states = [], []
    for episode in range(20):
        frames.append(world.reset(seed=episode)[0])
        for _ in range(100):
            states.append(world.state)
            frames.append(world.step(rng.uniform(-1, 1, 1))[0])
        states.append((np.nan, np.nan))
    angle, speed = angle_and_speed(np.array(frames)).T
    true_angle, _ = np.array(states)[:-1].T
    known = np.isfinite(true_angle)
    off = (np.radians(angle) - true_angle + np.pi)[known] % (2 * np.pi) - np.pi
    assert np.abs(off).max() < 0.03
    true_speed = np.array([state[1] for state in states[1:] + [(np.nan, np.nan)]])[:-1]  # Pendulum-v1 moves with the new speed
    known = np.isfinite(true_speed) & known
    assert np.std((speed - true_speed)[known]) < 0.4
