"""The benchmarks run to their end and give the numbers that they promise; how large these are is not for a test to say."""

import json
from dataclasses import replace

import numpy as np
import pytest
from conftest import ROOT, run_script

from bench import agent, measure, worlds
from config import UserError, scaled


def test_worlds_reports_ratios_rates_and_parts(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(agent, "PROCESSES", 1)  # each of a contestant's loads TensorFlow
    monkeypatch.chdir(ROOT)
    path = tmp_path / "worlds.json"
    worlds.main(["--runs", "1", "--steps", "5", "--episodes", "3", "--json", str(path)])
    numbers = json.loads(path.read_text())
    assert numbers["env_vs_gymnasium"] > 0 and numbers["env_v3_vs_gymnasium"] > 0
    # Differences of two runs this short can come out below 0 on a busy machine.
    assert np.isfinite([numbers["extract_frames_per_s"], numbers["extract_doom_frames_per_s"]]).all()
    assert f"{numbers['env_vs_gymnasium']:.2f}" in capsys.readouterr().out
    assert numbers["runs"] == 1 and numbers["machine"]["cores"] >= 1
    for parts in numbers["step_microseconds"].values():
        assert parts["Box2D"] > 0 and parts["picture"] > 0


def test_worlds_refuses_too_little_to_measure():
    done = run_script("-m", "bench.worlds", "--episodes", 2, check=False)
    assert done.returncode == 2 and "3 episodes" in done.stderr


def test_rates_count_work_by_the_clock_or_by_their_own_seconds(monkeypatch):
    clock = iter(range(100))
    monkeypatch.setattr(measure.time, "perf_counter", lambda: next(clock))
    calls = []
    contestants = {"by the clock": lambda: calls.append("a") or 30, "by its own": lambda: calls.append("b") or (30, 5)}
    measured = measure.rates(contestants, runs=2)
    assert calls == ["a", "b"] * 3  # once to warm up, and then in turns
    assert measured == {"by the clock": [30, 30], "by its own": [6, 6]}
    assert measure.ratio(measured, "by the clock", "by its own") == pytest.approx(5)


def test_jax_dreams_the_same_dreams(doom_run):
    """Chance is another, so over many dreams: of eight controllers, each at two temperatures, the lengths agree."""
    pytest.importorskip("jax", reason="jax is not installed: bench.search_jax needs it")
    from bench.search_jax import rollouts
    from controller.rollout import open_world
    from rnn.world_model import load_initial_z, load_memory

    game = replace(scaled("doom"), controller_population=8, controller_episodes=256, dream_max_steps=100)
    rnn = load_memory(doom_run, game)
    evolve, _ = rollouts(game, rnn, load_initial_z(doom_run, game, rnn.z_size), temperatures := [0.5, 1.5])
    candidates = np.random.default_rng(0).normal(0, 1, (8, rnn.z_size + 2 * rnn.rnn_size))
    theirs = evolve(np.array([candidates, candidates]), 0, 1)
    for temperature, lengths in zip(temperatures, theirs, strict=True):
        world = open_world("dream", doom_run, game, 256, temperature=temperature)
        ours = [world.rollout(params, range(256), 100)[1] for params in candidates]
        error = np.std(ours, axis=1) * np.sqrt(2 / 256)
        assert (np.abs(np.mean(ours, axis=1) - lengths) < 4 * error + 0.01).all()
    assert np.ptp(theirs) > 5


def test_search_in_jax_writes_over_no_other(tmp_path):
    from bench import search_jax

    (tmp_path / "search.json").write_text("{}")
    with pytest.raises(UserError, match="has a search already"):
        search_jax.main(["--out", str(tmp_path)])
    assert (tmp_path / "search.json").read_text() == "{}"
