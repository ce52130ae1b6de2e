"""Take Cover: the rules of the game, files left on disk, and how long random players survive."""

import os
import signal
import tempfile
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import vizdoom
from conftest import run_script

import env
from config import GAMES, UserError
from env.policies import extraction_policy, uniform_policy
from env.preprocess import paper

DOOM = GAMES["doom"]
pytestmark = pytest.mark.filterwarnings("error")


@pytest.fixture
def world():
    world = env.make(DOOM, render_mode="rgb_array")
    yield world
    world.close()


def _play(world, policy, seed):
    """The length of one episode, its rewards, and the result of its last step."""
    world.reset(seed=seed)
    act = policy(DOOM, np.random.default_rng(seed))
    rewards, done = [], False
    while not done:
        frame, reward, terminated, truncated, _ = world.step(act(len(rewards)))
        rewards.append(reward)
        done = terminated or truncated
    return len(rewards), rewards, (frame, terminated, truncated)


def test_death_ends_an_episode_with_a_reward_and_a_black_frame(world):
    length, rewards, (frame, terminated, truncated) = _play(world, uniform_policy, 0)
    assert terminated is True and truncated is False
    assert rewards == [1.0] * length
    assert (frame == 0).all() and (world.render() == 0).all()
    with pytest.raises(gymnasium.error.ResetNeeded):
        world.step(np.zeros(1))
    assert (world.reset()[0] > 0).any()


def test_the_games_timeout_truncates(world):
    world.reset(seed=0)
    assert world._game.get_episode_timeout() == 2100
    world._game.set_episode_timeout(40)
    world.reset(seed=0)
    assert world._game.get_episode_time() == 14
    ends = [world.step(np.zeros(1))[2:4] for _ in range(40)]
    assert ends == [(False, False)] * 39 + [(False, True)]


def test_the_observation_is_the_screen_without_the_status_bar(world):
    frame, _ = world.reset(seed=0)
    screen = world.render()
    assert screen.shape == (480, 640, 3) and screen.dtype == np.uint8
    np.testing.assert_array_equal(frame, paper(screen[:400]))
    # The room is brown, red above blue; the status bar below is there and grey.
    red, green, blue = screen[:400].reshape(-1, 3).mean(axis=0)
    assert red > green > blue
    bar = screen[430:].reshape(-1, 3).astype(int)
    assert np.median(np.ptp(bar, axis=1)) < 12 and bar.std() > 10


@pytest.mark.parametrize("action, way", [(-1, 1), (-0.34, 1), (-0.33, 0), (0, 0), (0.33, 0), (0.34, -1), (1, -1)])
def test_actions_beyond_a_third_move_left_and_right(world, action, way):
    world.reset(seed=0)
    place = lambda: world._game.get_game_variable(vizdoom.GameVariable.POSITION_Y)  # the player looks along +x: left is +y
    before = place()
    for _ in range(8):
        world.step(np.array([action]))
    assert np.sign(round(place() - before, 3)) == way


def test_nothing_is_left_on_disk(tmp_path, monkeypatch):
    """Not even while games run: whoever is killed cannot tidy."""
    users, temporary = tmp_path / "users", tmp_path / "temporary"
    users.mkdir(), temporary.mkdir()
    monkeypatch.chdir(users)
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    closed, forgotten = env.make(DOOM), env.make(DOOM)
    closed.reset(seed=0), forgotten.reset(seed=0)
    shared = [path.name for path in Path("/dev/shm").glob("ViZDoom*")]  # of other tests' games, as they start
    numbers = [Path(f"/proc/{pid}/cmdline").read_text().split("+viz_instance_id\0")[1].split("\0")[0] for pid in _engines()]
    assert len(numbers) >= 2 and not [name for name in shared for number in numbers if number in name]
    assert os.getcwd() == str(users) and os.listdir(users) == os.listdir(temporary) == []
    assert closed.step(np.zeros(1))[0].any() and forgotten.reset(seed=1)[0].any()
    closed.close()
    closed.close()
    del forgotten
    assert os.listdir(users) == os.listdir(temporary) == []


def test_what_a_game_left_that_was_killed_as_it_started_is_removed_by_the_next(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    nobody = 2**22 + 1  # beyond the greatest pid
    folders = [tmp_path / f"take-cover-{pid}-test" for pid in (nobody, os.getpid())]
    shared = [Path(f"/dev/shm/ViZDoomSM{name}") for name in ("testold", "testnew")]
    try:
        for path in folders:
            path.mkdir()
        for path in shared:
            path.write_bytes(bytes(10))
        for path in (*folders, shared[0]):
            os.utime(path, (0, 0))
        world = env.make(DOOM)
        world.reset(seed=0)
        world.close()
        assert [path.exists() for path in (*folders, *shared)] == [False, True, False, True]
    finally:
        for path in shared:
            path.unlink(missing_ok=True)


@pytest.mark.parametrize(
    "policy, mean, deviation", [(extraction_policy, 301, 159), (uniform_policy, 204, 92)], ids=["extraction", "uniform"]
)
def test_random_players_survive_as_long_as_published(world, monkeypatch, policy, mean, deviation):
    monkeypatch.setattr(world, "_preprocess", lambda crop: crop)  # the frames are not needed
    lengths = [_play(world, policy, seed)[0] for seed in range(12)]
    # Four standard errors. At skill 5, which the original asked for and did not get, the first would be 75.
    assert abs(np.mean(lengths) - mean) < 4 * deviation / np.sqrt(len(lengths))


def _engines():
    """The pids of this process's engines."""
    children = " ".join(path.read_text() for path in Path("/proc/self/task").glob("*/children")).split()
    return [int(pid) for pid in children if "vizdoom" in Path(f"/proc/{pid}/cmdline").read_text()]


def test_an_engine_that_was_killed_is_started_again_and_the_episode_goes_on(world, capfd):
    def episode(kill_at):
        frames = [world.reset(seed=1)[0]]
        for t in range(60):
            if t == kill_at:
                for pid in _engines():
                    os.kill(pid, signal.SIGKILL)
            frames.append(world.step(np.sin([t / 5]))[0])
        return np.array(frames)

    undisturbed = episode(kill_at=None)
    assert _engines() and not capfd.readouterr().err
    np.testing.assert_array_equal(episode(kill_at=40), undisturbed)
    assert capfd.readouterr().err.count("Doom's engine has failed") == 1
    for pid in _engines():
        os.kill(pid, signal.SIGKILL)
    np.testing.assert_array_equal(world.reset(seed=1)[0], undisturbed[0])


ATTENDED = """
import os, subprocess, threading, time
from env.doom import _attend
engine, calls = subprocess.Popen(["sleep", "100"]), [{first}]
thread = threading.Thread(target=_attend, args=(os.pidfd_open(engine.pid), calls, 0.5))
thread.start()
engine.kill()
for _ in range(100):  # a call that lasts, or many
    time.sleep(0.02)
    calls[0] += {step}
thread.join()
"""


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="Linux alone has pidfds")
@pytest.mark.parametrize("first, step, status", [(3, 0, 1), (4, 0, 0), (3, 2, 0)], ids=["waits", "rests", "goes on"])
def test_a_call_that_still_waits_for_an_engine_that_has_died_ends_the_process(first, step, status):
    done = run_script("-c", ATTENDED.format(first=first, step=step), check=False)
    assert done.returncode == status
    assert ("Doom's engine has died in the midst of a step" in done.stderr) == bool(status)


def test_an_engine_that_cannot_be_started_again_is_one_sentence(world, monkeypatch):
    world.reset(seed=1)
    for pid in _engines():
        os.kill(pid, signal.SIGKILL)
    monkeypatch.setattr(vizdoom, "scenarios_path", "/nowhere")
    with pytest.raises(UserError, match="^Doom's engine has failed twice .*: run the same command again$"):
        world.step(np.zeros(1))
