"""The benchmarks run to the end and report their numbers. No test depends on how large these are."""

import json
import os
import signal
from dataclasses import replace

import numpy as np
import pytest
from conftest import ROOT, run_script

from bench import __main__ as whole
from bench import agent, dreams, measure, soak, trainings, worlds
from config import scaled


def test_worlds_reports_ratios_rates_and_parts(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(agent, "PROCESSES", 1)  # each process loads TensorFlow
    monkeypatch.chdir(ROOT)
    path = tmp_path / "worlds.json"
    worlds.main(["--runs", "1", "--steps", "5", "--episodes", "3", "--json", str(path)])
    numbers = json.loads(path.read_text())
    assert numbers["env_vs_gymnasium"] > 0 and numbers["env_v3_vs_gymnasium"] > 0
    # The difference of two runs this short can be negative on a busy machine.
    assert np.isfinite([numbers["extract_frames_per_s"], numbers["extract_doom_frames_per_s"]]).all()
    assert f"{numbers['env_vs_gymnasium']:.2f}" in capsys.readouterr().out
    assert numbers["runs"] == 1 and numbers["machine"]["cores"] >= 1
    for parts in numbers["step_microseconds"].values():
        assert parts["Box2D"] > 0 and parts["picture"] > 0


def test_trainings_compares_v_and_m_with_plain_keras(tmp_path, monkeypatch):
    for name, size in {"FRAMES": 2, "SEQUENCES": 2, "STEPS": 3, "UPDATES": 1}.items():
        monkeypatch.setattr(trainings, name, size)
    monkeypatch.setattr(measure, "SQUARE", 64)
    path = tmp_path / "trainings.json"
    trainings.main(["--runs", "1", "--threads", "1", "--json", str(path)])
    numbers = json.loads(path.read_text())
    for model in "VM":
        assert numbers[model]["vs_plain"][trainings.FLOAT32] > 0
        assert 0 < numbers[model]["share_of_peak"][trainings.PLAIN]


def test_dreams_compares_the_population_and_times_a_generation(tmp_path, monkeypatch):
    small = {"CANDIDATES": 2, "EPISODES": 4, "DREAMS": 8, "STEPS": 3, "MEAN_LENGTH": 20}
    for name, size in small.items():
        monkeypatch.setattr(dreams, name, size)
    monkeypatch.setattr(dreams, "GAME", replace(dreams.GAME, rnn_size=16, dream_max_steps=40))
    monkeypatch.setattr(measure, "SQUARE", 64)
    path = tmp_path / "dreams.json"
    dreams.main(["--threads", "1", "--json", str(path)])
    numbers = json.loads(path.read_text())
    assert numbers["vs_single_env"] > 0 and numbers["generation_s"] > 0
    assert 1 < numbers["generation_mean_steps"] < 40


def test_the_products_of_a_training_are_counted():
    # By hand: of V 14.9 million products forward in the encoder, 24.1 in the decoder. The gradients take twice as many.
    assert trainings.vae_flops() == pytest.approx(6 * (14.9e6 + 24.1e6), rel=0.01)
    assert trainings.rnn_flops() == 6 * ((64 + 1 + 1 + 512) * 2048 + 512 * 961)


def test_the_published_search_at_a_speed():
    # 1,024 episodes of 1,000 steps a generation, and as many for an evaluation every 25 generations.
    assert "0.166 core-hours" in whole.search_time(3560) and "1,800 generations 299" in whole.search_time(3560)


def test_worlds_refuses_too_little_to_measure():
    done = run_script("-m", "bench.worlds", "--episodes", 2, check=False)
    assert done.returncode == 2 and "3 episodes" in done.stderr


@pytest.mark.skipif(not os.path.exists("/proc/self/smaps_rollup"), reason="it looks at processes as Linux shows them")
@pytest.mark.parametrize(
    "what, least, most", [("pass", -2, 2), ("kept.append(bytearray(2**20)), files.append(open(__file__))", 10, 500)]
)
def test_a_soak_tells_what_a_script_loses(tmp_path, what, least, most):
    script, told = tmp_path / "script.py", tmp_path / "soak.json"
    script.write_text(f"import time\nkept, files = [], []\nwhile True:\n    {what}\n    time.sleep(0.05)\n")
    soak.main(["--hours", "0.0015", "--every", "0.4", "--json", str(told), str(script)])
    told = json.loads(told.read_text())
    assert told["status"] == -signal.SIGTERM and len(told["seen"]) >= 8
    for name in ("memory_mib", "open_files"):
        before, after = told["growth"][name]
        assert least <= after - before <= most


def test_rates_count_work_by_the_clock_or_by_their_own_seconds(monkeypatch):
    clock = iter(range(100))
    monkeypatch.setattr(measure.time, "perf_counter", lambda: next(clock))
    calls = []
    alternatives = {"by the clock": lambda: calls.append("a") or 30, "by its own": lambda: calls.append("b") or (30, 5)}
    measured = measure.rates(alternatives, runs=2)
    assert calls == ["a", "b"] * 3  # once to warm up, and then interleaved
    assert measured == {"by the clock": [30, 30], "by its own": [6, 6]}
    assert measure.ratio(measured, "by the clock", "by its own") == pytest.approx(5)


def test_jax_dreams_the_same_dreams(doom_run):
    """Its random numbers differ, so mean lengths are compared: of eight controllers, each at two temperatures."""
    jax = pytest.importorskip("jax", reason="jax is not installed: bench.dreams compares with it only where it is")
    import jax.numpy as jnp

    from bench.dreams_jax import begin, stepper
    from controller.rollout import open_world
    from rnn.world_model import load_initial_z, load_memory

    game = scaled("doom")
    rnn = load_memory(doom_run, game)
    start = begin(rnn, load_initial_z(doom_run, game, rnn.z_size), 8 * 256, jax.random.key(0))
    candidates = np.random.default_rng(0).normal(0, 1, (8, rnn.z_size + 2 * rnn.rnn_size))
    means = []
    for temperature in (0.5, 1.5):
        step = stepper(rnn, jnp.array(candidates[..., None], jnp.float32), temperature)
        theirs = np.asarray(jax.lax.scan(step, start, jnp.arange(100))[0][4]).reshape(8, 256).mean(axis=1)
        world = open_world("dream", doom_run, game, 256, temperature=temperature)
        ours = [world.rollout(params, range(256), 100)[1] for params in candidates]
        error = np.std(ours, axis=1) * np.sqrt(2 / 256)
        assert (np.abs(np.mean(ours, axis=1) - theirs) < 4 * error + 0.01).all()
        means.extend(theirs)
    assert np.ptp(means) > 5
