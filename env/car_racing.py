"""CarRacing: Gymnasium's physics, tracks, rewards and endings, bit for bit, with the picture that the published agents saw."""

import numpy as np
from gymnasium import spaces
from gymnasium.envs.box2d import car_racing as gymnasium_car_racing
from gymnasium.envs.box2d.car_racing import FPS, PLAYFIELD
from gymnasium.error import ResetNeeded
from gymnasium.utils import EzPickle

from world_models.config import Game, Original, UserError
from world_models.env.actions import checked_action
from world_models.env.car.contacts import Contacts
from world_models.env.car.look_v0 import LookV0
from world_models.env.car.look_v3 import LookV3
from world_models.env.car.on_road import OnRoad
from world_models.env.car.physics import CarPhysics
from world_models.env.policies import constant_policy, uniform_policy
from world_models.env.preprocess import OPTION, preprocessing
from world_models.env.resize import SIZE

ITERATIONS = (6 * 30, 2 * 30)  # of Box2D's solvers, for velocities and positions: Gymnasium's


# How the agent sees the game. A look has new_track(env), called once an episode, and picture(env) -> (84,96,4) uint8.
LOOKS = {"v0": LookV0, "v3": LookV3}


class CarRacing(gymnasium_car_racing.CarRacing):
    """Gymnasium's CarRacing with observations (64,64,3) uint8.

    look: "v0", the picture of the published experiments, or "v3", Gymnasium's of today. Everything else is the same.
    preprocess: "paper" or "legacy", see env.preprocess.
    Actions: steering in [-1, 1], gas and brake in [0, 1]. Rewards, as Gymnasium's: -0.1 a step, 1000 / tiles for each tile
    reached, -100 for leaving the field. An episode is terminated outside the field or with all tiles reached; `step` may still
    be called then.
    Raises UserError for an unknown look or preprocess, and in `step` for an action that is not 3 finite numbers.
    """

    metadata = {"render_modes": ["rgb_array", "state_pixels"], "render_fps": FPS}

    def __init__(self, look="v0", preprocess="paper", render_mode=None):
        if look not in LOOKS:
            raise UserError(f"there is no look {look!r}: choose one of {', '.join(LOOKS)}, gymnasium")
        self._look = LOOKS[look]()
        self._preprocess = preprocessing(preprocess)
        super().__init__(render_mode=render_mode)
        EzPickle.__init__(self, look, preprocess, render_mode)  # in place of Gymnasium's own arguments
        self.observation_space = spaces.Box(0, 255, (SIZE, SIZE, 3), np.uint8)

    def _create_track(self):
        if not super()._create_track():
            return False
        # One array (tiles, 3) holds the colours of all tiles: Gymnasium changes the colour of a touched tile in place.
        self.tile_colors = np.array([tile.color for tile in self.road])
        colors = iter(self.tile_colors)
        self.road_poly = [(quad, color if isinstance(color, tuple) else next(colors)) for quad, color in self.road_poly]
        for tile, color in zip(self.road, self.tile_colors, strict=True):
            tile.color = color
        self.contacts = self.world.contactListener = Contacts(self)
        self._look.new_track(self)
        return True

    @property
    def car(self):
        return self._car

    @car.setter
    def car(self, car):  # Gymnasium's reset puts a new one here
        self._car = car
        self.physics = car and CarPhysics(car)
        if car:
            self.contacts.add_wheels(car)

    def step(self, action):
        if self.car is None:
            raise ResetNeeded("call reset before the first step")
        if action is None:  # Gymnasium's own, from its reset
            return super().step(None)
        self.physics.control(*checked_action(action, 3).tolist())
        self.physics.step(1.0 / FPS)
        self.world.Step(1.0 / FPS, *ITERATIONS)
        self.t += 1.0 / FPS
        self.state = self._render("state_pixels")

        self.reward -= 0.1
        reward, self.prev_reward = self.reward - self.prev_reward, self.reward
        terminated, info = False, {}
        if self.tile_visited_count == len(self.track) or self.new_lap:
            terminated, info = True, {"lap_finished": True}
        x, y, *_ = self.physics.hull
        if abs(x) > PLAYFIELD or abs(y) > PLAYFIELD:
            terminated, info, reward = True, {"lap_finished": False}, -100
        return self.state, reward, terminated, False, info

    def _render(self, mode):
        """Gymnasium's own picture for "rgb_array"; the observation for "state_pixels"."""
        if mode != "state_pixels":
            return super()._render(mode)
        self.physics.read()
        return self._preprocess(self._look.picture(self))


def car_racing(look="v0", preprocess="paper", render_mode=None, **keywords):
    """The environment with this look: "gymnasium" is Gymnasium's own, "v0" and "v3" are those of CarRacing.

    keywords: those of Gymnasium's own alone, such as continuous=False. Raises UserError for them with another look.
    """
    if look == "gymnasium":
        from world_models.env.car.gymnasium_car import GymnasiumCarRacing

        return GymnasiumCarRacing(preprocess, render_mode, **keywords)
    if keywords:
        raise UserError(
            f"look={look!r} has no {', '.join(keywords)}: give look='gymnasium', which takes Gymnasium's own keywords"
        )
    return CarRacing(look, preprocess, render_mode)


car_racing.metadata = CarRacing.metadata  # gymnasium.make looks here for the render modes


def random_policy(game, rng):
    """The published one: a = tanh(W z + b), W (3,Z) and b (3,) Cauchy times s with s ~ U(0, 0.01), z ~ N(0, I) in each frame.

    Gas is (a + 1) / 2, brake is clip(a, 0, 1).
    """
    # The authors give V, M and C random weights and divide V's and M's by 10,000. Effectively z ~ N(0, I), h = 0, and C has a
    # Cauchy matrix for each episode, with a random scale: some episodes hardly move, others steer hard to one side.
    scale = rng.uniform(0, 0.01)
    weights = rng.standard_cauchy((game.action_size, game.z_size)) * scale
    bias = rng.standard_cauchy(game.action_size) * scale

    def act(t):
        steer, gas, brake = np.tanh(weights @ rng.standard_normal(game.z_size) + bias)
        return np.array([steer, (gas + 1) / 2, max(brake, 0)], np.float32)

    return act


def blind_players(game, rng):
    return {
        "standing still": constant_policy(0, 0, 0),
        "straight on": constant_policy(0, 0.1, 0),
        "a fresh action each step": uniform_policy(game, rng),
    }


GAME = Game(
    name="carracing",
    environment=car_racing,
    real_id="WorldModels/CarRacing-v0",
    max_steps=1000,
    timeout=True,
    frames_per_second=FPS,
    action_maps=("signed", "halved", "clipped"),  # steering, gas, brake
    mirrored_action=(-1, 1, 1),
    keys={"left": (-1, 0, 0), "right": (1, 0, 0), "up": (0, 1, 0), "down": (0, 0, 0.8)},  # as Gymnasium's own window
    options={
        "look": (("v0", "v3", "gymnasium"), "as published, as in Gymnasium's v3, or that itself, unmodified and slow"),
        "preprocess": OPTION,
    },
    random_policy=random_policy,
    blind_players=blind_players,
    dream_id="WorldModels/CarRacingDream-v0",
    train_world="real",
    whole_episodes=True,
    judge=OnRoad(),
    reward_scale=2.0,
    least_reward=-1.0,  # not the -100 outside the field, where 30% of the random policy's recorded frames are
    controller_bias=True,
    # M: the authors' code trains it for 40 epochs.
    record_full=True,  # the original ignores `done`: every recorded episode has 1000 frames
    dream_temperature=0.7,
    dream_max_steps=1200,
    published={
        "real": (
            ("DQN", 343, 18),
            ("A3C (continuous)", 591, 45),
            ("A3C (discrete)", 652, 10),
            ("ceobillionaire's algorithm", 838, 11),
            ("V alone, z", 632, 251),
            ("V alone, z and a hidden layer", 788, 141),
            ("full world model, z and h", 906, 21),
        ),
    },
    original=Original(
        folder="carracing",
        places={
            "vae": ("vae/vae.json", "vae.json"),
            "rnn": ("rnn/rnn.json", "rnn.json"),
            "initial_z": ("initial_z/initial_z.json", "initial_z.json"),
        },
        log="log/carracing",
        worlds={},
    ),
    scales={
        "quick": dict(
            record_episodes=40,
            # Smaller batches and larger steps learn more from a frame, and would learn less from ten million.
            vae_batch_size=32,
            vae_learning_rate=1e-3,
            rnn_batch_size=8,
            rnn_epochs=10,
            # One track a generation, shared by all candidates, and long enough to need more than the first bends. As
            # many steps in four episodes of 200 teach less than half as much; two of 200, for more generations, little more.
            controller_population=32,
            controller_episodes=1,
            controller_max_steps=400,
            controller_seeds="one",
            controller_step_size="tpa",  # increases the step size within ten generations; csa first decreases it
            controller_generations=24,
            controller_eval_steps=12,
            controller_eval_episodes=16,
        ),
        "smoke": dict(
            record_max_steps=60,
            rnn_seq_len=59,
            dream_max_steps=80,
            round=dict(predict_reward=True, rnn_anywhere=True),
        ),
    },
    round=dict(
        record_episodes=200,
        vae_min_gain=0.01,
        predict_reward=True,
        rnn_anywhere=True,  # dreams are true for some hundred steps only, and have to begin in all parts of a lap
        rnn_batch_size=50,
        rnn_epochs=30,
        dream_temperature=1.0,  # C learned nothing of use at 0.7 and at 1.3
        dream_max_steps=300,
        controller_episodes=32,  # with 8 C scores less in the game
        controller_generations=40,
        controller_eval_steps=20,
        controller_eval_episodes=512,
        controller_seeds="one",
    ),
)
