"""The pendulum: Gymnasium's Pendulum-v1 from pixels. It starts at the bottom, so it has to be swung up.

The article shows a pole swing-up for its iterative procedure. That environment was never released.
"""

import math

import cv2
import numpy as np
from gymnasium import spaces
from gymnasium.envs.classic_control.pendulum import PendulumEnv
from gymnasium.error import ResetNeeded
from gymnasium.utils import EzPickle

from world_models.config import Game, Map, UserError
from world_models.env.actions import checked_action
from world_models.env.policies import constant_policy, to_and_fro, uniform_policy
from world_models.env.resize import SIZE

STARTS = ("hanging", "anywhere")
STEPS, STEPS_PER_SECOND = 200, 20
HALF_PERIOD = 16  # steps: half the period of small swings about the bottom

# Pendulum-v1 draws 500 x 500 pixels: the rod ends 500 / 4.4 from the middle, and is a tenth of that wide on each side.
WINDOW, MIDDLE, LENGTH, RADIUS, AXLE = 500, 250, 500 / 4.4, 11, 5
RED, BLACK, WHITE = (204, 77, 77), (0, 0, 0), 255
# Here a pixel is drawn as 4 x 4 and then shrunk. Only the middle is drawn, as far as the pole reaches.
FINE, REACH = 4, 17
SHIFT = 6  # fractional bits of a pixel, in OpenCV's fixed-point coordinates
SCALE = SIZE * FINE / WINDOW * 2**SHIFT
ORIGIN = REACH * FINE * 2**SHIFT


class Pendulum(PendulumEnv, EzPickle):
    """Swing a pole up and keep it there. Observations (64,64,3) uint8, as Pendulum-v1 is drawn, without its arrow.

    begin: "hanging", at rest within 0.1 radians of straight down, or "anywhere", as Pendulum-v1 does.
    Actions: one number in [-1, 1], the torque in units of 2 N m. Reward and physics are Pendulum-v1's, bit for bit: the reward
    is minus (squared angle from upright + 0.1 squared speed + 0.001 squared torque). An episode is truncated after 200 steps of
    1/20 s by Gymnasium's TimeLimit; nothing else ends it.
    Raises UserError for another `begin`, and in `step` for an action that is not one finite number.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 20}

    def __init__(self, begin="hanging", render_mode=None):
        if begin not in STARTS:
            raise UserError(f"there is no beginning {begin!r}: choose one of {', '.join(STARTS)}")
        super().__init__(render_mode)
        EzPickle.__init__(self, begin, render_mode)
        self.begin, self.state = begin, None
        self.observation_space = spaces.Box(0, 255, (SIZE, SIZE, 3), np.uint8)
        self.action_space = spaces.Box(-1, 1, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        if self.begin == "hanging":
            self.state = np.array([np.pi + self.np_random.uniform(-0.1, 0.1), 0.0])
        return picture(self.state[0]), {}

    def step(self, action):
        if self.state is None:
            raise ResetNeeded("call reset before the first step")
        torque = np.float32(self.max_torque) * np.float32(checked_action(action, 1))  # float32, as Pendulum-v1 is given it
        _, reward, *rest = super().step(torque)
        return picture(self.state[0]), float(reward), *rest

    def render(self):
        """The observation if the render mode is "rgb_array", else None."""
        return picture(self.state[0]) if self.render_mode == "rgb_array" else None


def picture(angle):
    """(64,64,3) uint8 of the pole at `angle`, in radians from upright, counter-clockwise."""
    canvas = np.full((2 * REACH * FINE, 2 * REACH * FINE, 3), WHITE, np.uint8)
    right, up = -math.sin(angle), math.cos(angle)  # of the pole, in Pendulum-v1's window, whose rows count upwards
    wide, high = LENGTH / 10 * up, -LENGTH / 10 * right  # from its centre line to its edge
    top = LENGTH * right, LENGTH * up
    corners = (-wide, -high), (wide, high), (top[0] + wide, top[1] + high), (top[0] - wide, top[1] - high)
    cv2.fillConvexPoly(canvas, np.array([_fine(*corner) for corner in corners]), RED, cv2.LINE_8, SHIFT)
    end = int(MIDDLE + top[0]) - MIDDLE, int(MIDDLE + top[1]) - MIDDLE
    for centre, radius, color in (((0, 0), RADIUS, RED), (end, RADIUS, RED), ((0, 0), AXLE, BLACK)):
        cv2.circle(canvas, _fine(*centre), round((radius + 0.5) * SCALE), color, cv2.FILLED, cv2.LINE_8, SHIFT)
    frame = np.full((SIZE, SIZE, 3), WHITE, np.uint8)
    around = slice(SIZE // 2 - REACH, SIZE // 2 + REACH)
    frame[around, around] = cv2.resize(canvas, (2 * REACH, 2 * REACH), interpolation=cv2.INTER_AREA)
    return frame


def _fine(right, up):
    """Pixels from the window's middle, upwards positive, to OpenCV's fixed-point coordinates of the canvas, rows downwards."""
    half = 2**SHIFT // 2  # both have a pixel's centre at whole numbers
    return round((right + 0.5) * SCALE) + ORIGIN - half, round((-up - 0.5) * SCALE) + ORIGIN - half


def angle_and_speed(frames):
    """(T-1, 2): the pole's angle in degrees from upright in frames (T,64,64,3) uint8, and its speed to the next in radians/s.

    The angle is right to 1 degree, the speed to 0.3 radians/s (standard deviation).
    """
    ink = 255.0 - frames[..., 1]  # green: neither the pole nor its axle has much
    down, right = np.indices((SIZE, SIZE)) - (SIZE - 1) / 2
    angle = np.arctan2(-(ink * right).sum((1, 2)), -(ink * down).sum((1, 2)))
    turned = (np.diff(angle) + np.pi) % (2 * np.pi) - np.pi
    return np.stack([np.degrees(angle[:-1]), turned * STEPS_PER_SECOND], axis=1)


def random_policy(game, rng):
    """Torques a ~ U(-1, 1), each kept for 1 to `record_hold` steps."""
    action, until = None, 0

    def act(t):
        nonlocal action, until
        if t >= until:
            action, until = rng.uniform(-1, 1), t + int(rng.integers(1, game.record_hold + 1))
        return np.array([action], np.float32)

    return act


def blind_players(game, rng):
    """The last one pushes in the rhythm of small swings."""
    return {
        "no torque": constant_policy(0),
        "a fresh torque each step": uniform_policy(game, rng),
        f"to and fro, {HALF_PERIOD} steps each": to_and_fro(HALF_PERIOD),
    }


GAME = Game(
    name="pendulum",
    environment=Pendulum,
    real_id="WorldModels/Pendulum-v0",
    max_steps=STEPS,
    timeout=True,
    frames_per_second=STEPS_PER_SECOND,
    action_maps=("signed",),
    mirrored_action=(-1,),
    keys={"left": (1,), "right": (-1,)},  # to the left at the top: counter-clockwise
    options={"begin": (STARTS, "where the pendulum starts: hanging, or anywhere as in Pendulum-v1")},
    random_policy=random_policy,
    blind_players=blind_players,
    map=Map(angle_and_speed, ("angle (degrees from upright)", "speed (radians/s)"), ((-180, 180), (-8, 8)), (24, 16)),
    dream_id="WorldModels/PendulumDream-v0",
    train_world="dream",
    whole_episodes=True,
    predict_reward=True,
    predict_action=True,
    reward_scale=8.0,
    controller_bias=True,
    # Nothing was published for this game. These sizes suit a run of half an hour on two cores.
    record_episodes=400,
    record_max_steps=STEPS,
    record_hold=20,  # with a new torque each step the pole hardly leaves the bottom
    z_size=3,  # of 8 five carry nothing but noise, which C has to learn to ignore
    vae_channels=12,  # the picture is simple
    vae_batch_size=32,
    vae_learning_rate=2e-3,
    vae_from_mean=True,  # the picture is white with a small pole
    vae_kl_tolerance=4.0,  # with 8 nats in all z is too coarse to balance with
    vae_epochs=2,
    rnn_size=128,  # from 64 numbers of h a linear C learns to swing up, but not to stay there
    rnn_seq_len=STEPS - 1,
    rnn_batch_size=16,
    rnn_epochs=200,
    rnn_learning_rate=3e-3,
    rnn_decay=0.9993,
    dream_max_steps=STEPS,
    controller_max_steps=STEPS,
    controller_sigma_init=1.0,  # with 0.1 the search does not learn to swing
    controller_population=256,
    controller_episodes=4,
    controller_generations=150,
    controller_eval_episodes=256,
    scales={
        "quick": dict(
            record_episodes=100,
            vae_epochs=3,
            rnn_batch_size=8,
            rnn_epochs=150,
            rnn_decay=0.998,
            controller_population=128,
            controller_generations=60,
            controller_eval_steps=20,
            controller_eval_episodes=64,
        ),
        "smoke": dict(record_max_steps=40, rnn_seq_len=39, dream_max_steps=30, round=dict(rnn_anywhere=True)),
    },
    round=dict(
        record_episodes=13,
        vae_epochs=30,
        vae_min_gain=0.01,
        rnn_batch_size=8,
        rnn_epochs=240,
        rnn_decay=0.995,
        rnn_anywhere=True,  # so that C, which has only swung up from the bottom, also copes with other beginnings
        controller_population=128,
        controller_generations=60,
        controller_eval_steps=20,
        controller_eval_episodes=64,
        controller_seeds="one",  # beginnings differ more than candidates do
    ),
)
