"""Doom's Take Cover on ViZDoom, with the settings that gym-doom's environment of the published experiments really had."""

import os
import shutil
import tempfile
import weakref

import gymnasium
import numpy as np
import vizdoom
from gymnasium import spaces
from gymnasium.error import ResetNeeded
from gymnasium.utils import EzPickle

from env import checked_action
from env.preprocess import SIZE, preprocessing

CROP = 400  # of 480 rows: the status bar below is cut off
THRESHOLD = 0.3333
SCREEN = (480, 640, 3)
LEFT, STAND, RIGHT = [0, 1], [0, 0], [1, 0]  # on the buttons below


def _new_game():
    """A DoomGame that is not started yet."""
    game = vizdoom.DoomGame()
    game.set_doom_scenario_path(os.path.join(vizdoom.scenarios_path, "take_cover.wad"))
    game.set_doom_map("map01")
    game.set_doom_skill(4)  # gym-doom asked for 5, and doom-py made 4 of it
    # The picture depends on all of these: fireballs are drawn with or without smoke, the room smaller with the status bar.
    game.set_screen_resolution(vizdoom.ScreenResolution.RES_640X480)
    game.set_screen_format(vizdoom.ScreenFormat.RGB24)
    game.set_render_hud(True)
    game.set_render_weapon(False)
    game.set_render_crosshair(False)
    game.set_render_decals(False)
    game.set_render_particles(False)
    game.set_render_screen_flashes(False)
    game.set_available_buttons([vizdoom.Button.MOVE_RIGHT, vizdoom.Button.MOVE_LEFT])
    game.set_episode_start_time(14)
    game.set_episode_timeout(2100)
    game.set_living_reward(1)
    game.set_death_penalty(0)
    game.set_mode(vizdoom.Mode.PLAYER)
    game.set_window_visible(False)
    game.set_sound_enabled(False)
    return game


def _end(game, folder):
    game.close()
    shutil.rmtree(folder, ignore_errors=True)


class DoomTakeCover(gymnasium.Env, EzPickle):
    """Survive the fireballs. Observations (64,64,3) uint8; one step is one tic of the game, 1/35 s.

    preprocess: "paper" or "legacy", see env.preprocess.
    Actions: one number in [-1, 1]; left below -0.3333, right above 0.3333. Reward: 1 a step, the fatal one included.
    An episode is terminated when the player is dead and truncated after 2100 steps, the game's own timeout. 14 tics pass before
    the first frame. The last observation is of a black screen: there is nothing to see after the end.

    The game is a process of its own, started by the first reset and ended by `close` or with the environment. A pickled copy
    starts another.
    Raises UserError for an unknown preprocess, and in `step` for an action that is not one finite number.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 35}

    def __init__(self, preprocess="paper", render_mode=None):
        EzPickle.__init__(self, preprocess, render_mode)
        self._preprocess = preprocessing(preprocess)
        self.render_mode = render_mode
        self.observation_space = spaces.Box(0, 255, (SIZE, SIZE, 3), np.uint8)
        self.action_space = spaces.Box(-1, 1, (1,), np.float32)
        self._game = None
        self._screen = np.zeros(SCREEN, np.uint8)

    def _start(self):
        # ViZDoom leaves its settings and a folder in the directory that it is started in: let that be one that goes.
        folder = tempfile.mkdtemp(prefix="take-cover-")
        self._game = _new_game()
        self._end = weakref.finalize(self, _end, self._game, folder)
        before = os.getcwd()
        os.chdir(folder)
        try:
            self._game.init()
        finally:
            os.chdir(before)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        if self._game is None:
            self._start()
        self._game.set_seed(int(self.np_random.integers(2**31)) if seed is None else seed % 2**32)
        self._game.new_episode()
        return self._observe(), {}

    def step(self, action):
        (a,) = checked_action(action, 1)
        if self._game is None or self._game.is_episode_finished():
            raise ResetNeeded("call reset before the first step, and after an episode's end")
        self._game.make_action(LEFT if a < -THRESHOLD else RIGHT if a > THRESHOLD else STAND)
        terminated = self._game.is_player_dead()
        truncated = self._game.is_episode_finished() and not terminated
        return self._observe(), 1.0, terminated, truncated, {}

    def _observe(self):
        state = self._game.get_state()
        self._screen = np.zeros(SCREEN, np.uint8) if state is None else state.screen_buffer
        return self._preprocess(self._screen[:CROP])

    def render(self):
        """The whole screen, (480, 640, 3) uint8, where the render mode is "rgb_array"; otherwise None."""
        return self._screen.copy() if self.render_mode == "rgb_array" else None

    def close(self):
        if self._game is not None:
            self._end()
            self._game = None
