"""Gymnasium's own CarRacing-v3, to evaluate agents that were trained in `env.car_racing`."""

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.envs.box2d.car_racing import FPS

from world_models.env.actions import checked_action
from world_models.env.car.look_v3 import SHAPE
from world_models.env.preprocess import preprocessing
from world_models.env.resize import SIZE


class GymnasiumCarRacing(gymnasium.Env):
    """The unmodified CarRacing-v3 with its frames cropped and resized to (64,64,3) uint8; everything else is passed on.

    It draws some 30 times slower than look="v3", which shows nearly the same. preprocess: see env.preprocess. keywords:
    Gymnasium's own, continuous, domain_randomize and lap_complete_percent.
    Raises UserError for an unknown preprocess, and in `step` for an action that is not 3 finite numbers. With continuous=False
    an action is one of 5 numbers, and Gymnasium raises its own error for another.
    """

    metadata = {"render_modes": ["rgb_array", "state_pixels"], "render_fps": FPS}

    def __init__(self, preprocess="paper", render_mode=None, **keywords):
        self._preprocess, self.render_mode = preprocessing(preprocess), render_mode
        self.world = gymnasium.make("CarRacing-v3", render_mode=render_mode, **keywords).unwrapped
        self.action_space = self.world.action_space
        self.observation_space = spaces.Box(0, 255, (SIZE, SIZE, 3), np.uint8)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        frame, info = self.world.reset(seed=seed, options=options)
        return self._preprocess(frame[: SHAPE[0]]), info

    def step(self, action):
        frame, *rest = self.world.step(checked_action(action, 3) if self.world.continuous else action)
        return self._preprocess(frame[: SHAPE[0]]), *rest

    def render(self):
        return self.world.render()

    def close(self):
        self.world.close()
