"""A new game in one file runs through all stages, and no other source names a game."""

import json
import re

import cv2
import gymnasium
import numpy as np
import pytest
from conftest import ROOT, run_script

import env
from config import GAMES, UserError, scaled
from env.pendulum import picture

TOY = '''
"""A square that is pushed left and right; it earns by being in the middle, and dies at the edge."""

import gymnasium
import numpy as np
from gymnasium import spaces

from config import Game
from env.policies import constant_policy, uniform_policy


class Toy(gymnasium.Env):
    metadata = {"render_modes": []}
    observation_space, action_space = spaces.Box(0, 255, (64, 64, 3), np.uint8), spaces.Box(-1, 1, (1,), np.float32)

    def __init__(self, color="red", render_mode=None):
        self.color, self.render_mode = {"red": 0, "blue": 2}[color], render_mode

    def _frame(self):
        frame = np.zeros((64, 64, 3), np.uint8)
        frame[28:36, int(self.x) - 4 : int(self.x) + 4, self.color] = 255
        return frame

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x = self.np_random.uniform(24, 40)
        return self._frame(), {}

    def step(self, action):
        self.x = np.clip(self.x + 4 * float(action[0]), 4, 60)
        return self._frame(), 1 - abs(self.x - 32) / 16, bool(self.x in (4, 60)), False, {}


GAME = Game(
    name="toy", environment=Toy, real_id="Test/Toy-v0", max_steps=60, timeout=True, frames_per_second=10,
    action_maps=("signed",), mirrored_action=(-1,), options={"color": (("red", "blue"), "of the square")},
    random_policy=uniform_policy, blind_players=lambda game, rng: {"standing still": constant_policy(0)},
    dream_id="Test/ToyDream-v0", train_world="dream", whole_episodes=False, predict_restart=True, predict_reward=True,
    controller_bias=True, z_size=4, rnn_size=16, record_max_steps=60, dream_max_steps=60, controller_max_steps=60,
    scales={"smoke": dict(record_episodes=12, rnn_seq_len=20)},
)
'''

PROGRAM = """
import sys
import config, evaluate, extract, probe, train
import rnn.series, rnn.train, vae.train

game = ["toy", "--scale", "smoke", "--run-dir", sys.argv[1]]
one, thread = ["-n", "1"], ["--threads", "1"]
extract.main([*game, *one, "--color", "blue"])
vae.train.main([*game, *thread])
rnn.series.main([*game, *thread])
rnn.train.main([*game, *thread])
train.main([*game, *one])
train.main([*game, *one, "--world", "real", "--name", "real"])
evaluate.main([*game, *one, "--episodes", "3", "--baseline"])
evaluate.main([*game, *one, "--episodes", "3", "--world", "dream"])
probe.main([*game, *thread, "--episodes", "2"])

import doomrnn, gymnasium
from gymnasium.utils.env_checker import check_env
dream = gymnasium.make("Test/ToyDream-v0", run_dir=sys.argv[1]).unwrapped
check_env(dream, skip_render_check=True)
dream.reset(seed=0)
print("REWARDS", len({dream.step([0.5])[1] for _ in range(5)}))
"""


def test_a_game_in_one_file_goes_through_all_stages(tmp_path):
    (tmp_path / "games").mkdir()
    (tmp_path / "games" / "toy.py").write_text(TOY)
    done = run_script("-c", PROGRAM, tmp_path / "run", environment={"WORLD_MODELS_GAMES": str(tmp_path / "games")})
    assert "REWARDS 5" in done.stdout and "score (mean" in done.stdout
    series = np.load(tmp_path / "run" / "series" / "series.npz")
    assert np.isfinite(series["reward"]).all() and series["reward"].std() > 0
    results = json.loads((tmp_path / "run" / "evaluate" / "real-test.json").read_text())
    assert results["color"] == "blue"  # as recorded
    assert len(results["scores"]) == 3 and list(results["baselines"]) == [
        "random, as recorded",
        "random, fresh action each step",
    ]
    log = [json.loads(line) for line in (tmp_path / "run" / "rnn" / "log.jsonl").read_text().splitlines()]
    assert {"nll", "restart", "reward", "recall"} <= log[0].keys() and "action" not in log[0]


def test_no_other_source_names_a_game():
    """Only code counts: comments and docstrings may give an example."""
    own = {"env/car_racing.py", "env/doom.py", "env/pendulum.py"}
    named = []
    for path in sorted(ROOT.glob("*.py")) + sorted(ROOT.glob("*/*.py")):
        where = path.relative_to(ROOT).as_posix()
        if where.split("/")[0] in ("tests", "bench") or where in own:
            continue
        for line in re.sub(r'""".*?"""', "", path.read_text(), flags=re.DOTALL).splitlines():
            if re.search(rf"\b({'|'.join(GAMES)})\b", line.split("# ")[0]):
                named.append(f"{where}: {line}")
    assert not named


@pytest.mark.parametrize("scale", ["quick", "smoke"])
def test_scales_change_fields_that_exist(scale):
    for name, game in GAMES.items():
        assert scaled(name, scale) != game


def test_the_pendulum_is_gymnasiums_bit_for_bit():
    theirs = gymnasium.make("Pendulum-v1").unwrapped
    ours = env.make(GAMES["pendulum"], begin="anywhere")
    theirs.reset(seed=3), ours.reset(seed=3)
    np.testing.assert_array_equal(ours.state, theirs.state)
    for action in np.random.default_rng(0).uniform(-1, 1, (300, 1)).astype(np.float32):
        _, expected, *_ = theirs.step(2 * action)
        frame, reward, terminated, truncated, _ = ours.step(action)
        np.testing.assert_array_equal(ours.state, theirs.state)
        assert reward == expected and not terminated and not truncated
        np.testing.assert_array_equal(frame, picture(theirs.state[0]))


def test_the_pendulum_hangs_at_first_and_its_episodes_have_200_steps():
    world = gymnasium.make("WorldModels/Pendulum-v0")
    angles = []
    for seed in range(20):
        world.reset(seed=seed)
        angle, speed = world.unwrapped.state
        angles.append(angle - np.pi)
        assert speed == 0
    assert max(np.abs(angles)) <= 0.1 and max(angles) > 0.05 and min(angles) < -0.05
    over = [world.step([0.0])[2:4] for _ in range(200)]
    assert over == [(False, False)] * 199 + [(False, True)]


def test_the_pendulum_looks_like_gymnasiums(monkeypatch):
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    theirs = gymnasium.make("Pendulum-v1", render_mode="rgb_array").unwrapped
    theirs.reset(seed=0)
    for angle in np.linspace(-4, 4, 41):
        theirs.state = np.array([angle, 0.0])
        expected = cv2.resize(theirs.render(), (64, 64), interpolation=cv2.INTER_AREA).astype(int)
        assert np.abs(picture(angle) - expected).mean() <= 0.3
        assert np.abs(picture(angle + 0.3) - expected).mean() > 1  # the picture of another angle differs


def test_the_pendulum_says_what_it_cannot_do():
    with pytest.raises(UserError, match="beginning 'up'"):
        env.make(GAMES["pendulum"], begin="up")
    world = env.make(GAMES["pendulum"])
    world.reset(seed=0)
    with pytest.raises(UserError, match="1 finite number"):
        world.step([np.nan])
