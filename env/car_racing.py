"""CarRacing: Gymnasium's physics, tracks, rewards and endings, bit for bit, in the pictures that the published agents saw."""

import numpy as np
from gymnasium import spaces
from gymnasium.envs.box2d import car_racing as gymnasium_car_racing
from gymnasium.envs.box2d.car_racing import FPS, PLAYFIELD
from gymnasium.error import ResetNeeded
from gymnasium.utils import EzPickle

from config import UserError
from env import checked_action
from env.car_physics import CarPhysics
from env.look_v0 import LookV0
from env.look_v3 import LookV3
from env.preprocess import SIZE, preprocessing

ITERATIONS = (6 * 30, 2 * 30)  # of Box2D's solvers, for velocities and positions: Gymnasium's


# How the agent sees the world. A look has new_track(env), called once an episode, and picture(env) -> (84,96,4) uint8.
LOOKS = {"v0": LookV0, "v3": LookV3}


class CarRacing(gymnasium_car_racing.CarRacing):
    """Gymnasium's CarRacing with observations (64,64,3) uint8.

    look: "v0", the published experiments' picture, or "v3", Gymnasium's of today; the world behind is the same.
    preprocess: "paper" or "legacy", see env.preprocess.
    Actions: steering in [-1, 1], gas and brake in [0, 1]. Rewards, as Gymnasium's: -0.1 a step, 1000 / tiles for each tile
    reached, -100 for leaving the field. An episode ends out of the field or with all tiles reached, and may be stepped on.
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
        # One array (tiles, 3) that holds all tiles' colours: Gymnasium changes a touched tile's colour in place.
        self.tile_colors = np.array([tile.color for tile in self.road])
        colors = iter(self.tile_colors)
        self.road_poly = [(quad, color if isinstance(color, tuple) else next(colors)) for quad, color in self.road_poly]
        for tile, color in zip(self.road, self.tile_colors, strict=True):
            tile.color = color
        self._look.new_track(self)
        return True

    @property
    def car(self):
        return self._car

    @car.setter
    def car(self, car):  # Gymnasium's reset puts a new one here
        self._car = car
        self.physics = car and CarPhysics(car)

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
        """The picture for people ("rgb_array") is Gymnasium's own; "state_pixels" is the observation."""
        if mode != "state_pixels":
            return super()._render(mode)
        self.physics.read()
        return self._preprocess(self._look.picture(self))
