"""Doom's Take Cover on ViZDoom, with the effective settings of gym-doom, which the published experiments used."""

import contextlib
import glob
import os
import select
import shlex
import shutil
import sys
import tempfile
import threading
import time
import weakref

import gymnasium
import numpy as np
import vizdoom
from gymnasium import spaces
from gymnasium.error import ResetNeeded
from gymnasium.utils import EzPickle

from world_models.config import Game, Original, UserError
from world_models.env.actions import checked_action
from world_models.env.policies import constant_policy, to_and_fro, uniform_policy
from world_models.env.preprocess import OPTION, preprocessing
from world_models.env.resize import SIZE
from world_models.job.leftovers import mine_and_settled, remove_unused

CROP = 400  # of 480 rows: the status bar below is cut off
THRESHOLD = 0.3333
TIMEOUT = 2100  # steps, set by the game
PATIENCE = 10  # seconds, after which ViZDoom will not notice any more that an engine has ended
SCREEN = (480, 640, 3)
LEFT, STAND, RIGHT = [0, 1], [0, 0], [1, 0]  # on the buttons below


def _new_game():
    """A DoomGame with all settings, not yet started."""
    game = vizdoom.DoomGame()
    game.set_doom_scenario_path(os.path.join(vizdoom.scenarios_path, "take_cover.wad"))
    game.set_doom_map("map01")
    game.set_doom_skill(4)  # gym-doom asked for 5, which doom-py clamped to 4
    # All of these change the picture: the smoke of fireballs, and with the status bar the size of the room.
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
    game.set_episode_timeout(TIMEOUT)
    game.set_living_reward(1)
    game.set_death_penalty(0)
    game.set_mode(vizdoom.Mode.PLAYER)
    game.set_window_visible(False)
    game.set_sound_enabled(False)
    return game


FAILURES = (  # of the engine, a process of its own
    vizdoom.FileDoesNotExistException,
    vizdoom.ViZDoomErrorException,
    vizdoom.ViZDoomIsNotRunningException,
    vizdoom.ViZDoomUnexpectedExitException,
    vizdoom.SharedMemoryException,
    vizdoom.MessageQueueException,
)


def _engine(folder):
    """The path of a script in `folder` that runs ViZDoom's engine, by util-linux's setsid and setpriv where there are such.

    With setpriv the engine dies with the thread that started it. One that outlives its game would hold the terminal's or
    mpirun's pipes, and mpirun would wait for it. With setsid it does not hear a Ctrl-C, or mpirun's signals: ViZDoom crashes
    where its engine ends as it starts.
    """
    engine = shlex.quote(os.path.join(os.path.dirname(vizdoom.__file__), "vizdoom"))
    tools = {"setsid": "setsid ", "setpriv": "setpriv --pdeathsig KILL -- "}
    start = "".join(words for name, words in tools.items() if shutil.which(name))
    path = os.path.join(folder, "engine.sh")
    with open(path, "w") as file:
        file.write(f'#!/bin/sh\nprintf "%s\\n" $$ "$@" > arguments\nexec {start}{engine} "$@" >/dev/null 2>&1\n')
    os.chmod(path, 0o700)
    return path


def _unlink(number):
    """Remove the names of a game's shared memory, 11 MB. number: ViZDoom's, of the game.

    The game and its engine have opened it and need no names. So nothing is left of it when they end, in whatever way.
    """
    for name in ("SM", "MQCtr", "MQDoom"):
        with contextlib.suppress(FileNotFoundError):  # not all systems have such files
            os.remove(f"/dev/shm/ViZDoom{name}{number}")


def _attend(engine, calls, patience=PATIENCE):
    """Wait until the process `engine`, a pidfd, ends. End this one where a call of ViZDoom's still waits for it then.

    An engine that is killed in the midst of a step may hold what ViZDoom waits for, and nothing in this process can end that
    wait. calls: a list of one number, which increases as ViZDoom is called, and is odd during a call.
    """
    select.select([engine], [], [])
    os.close(engine)
    time.sleep(patience)
    (before,) = calls
    time.sleep(patience)
    if calls == [before] and before % 2:
        print("Doom's engine has died in the midst of a step: run the same command again", file=sys.stderr, flush=True)
        os._exit(1)


def _tidy():
    """Remove what games left that were killed as they started: shared memory, and a folder."""
    remove_unused("/dev/shm/ViZDoom*")
    for path in glob.glob(os.path.join(tempfile.gettempdir(), "take-cover-[0-9]*-*")):
        if mine_and_settled(path) and not os.path.exists(f"/proc/{path.rsplit('-', 2)[1]}"):
            shutil.rmtree(path, ignore_errors=True)


def _reason(error):
    return str(error).strip().rstrip(".") or type(error).__name__


class DoomTakeCover(gymnasium.Env, EzPickle):
    """Survive the fireballs. Observations (64,64,3) uint8; one step is one tic of the game, 1/35 s.

    preprocess: "paper" or "legacy", see env.preprocess.
    Actions: one number in [-1, 1]; left below -0.3333, right above 0.3333. Reward: 1 a step, the fatal one included.
    An episode is terminated when the player is dead and truncated after 2100 steps, the game's timeout. 14 tics pass before the
    first frame. The last observation is black: the game draws nothing after the end.

    The game runs in a process of its own, started by the first reset and ended by `close` or with the environment. A pickled
    copy starts another. If that process dies, `step` starts it again and repeats the episode's actions, which lead to the same
    place.
    Raises UserError for an unknown preprocess, where the engine fails again at once, and in `step` for an action that is not
    one finite number.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 35}

    def __init__(self, preprocess="paper", render_mode=None):
        EzPickle.__init__(self, preprocess, render_mode)
        self._preprocess = preprocessing(preprocess)
        self.render_mode = render_mode
        self.observation_space = spaces.Box(0, 255, (SIZE, SIZE, 3), np.uint8)
        self.action_space = spaces.Box(-1, 1, (1,), np.float32)
        self._game, self._calls = None, [0]
        self._screen = np.zeros(SCREEN, np.uint8)

    def _start(self):
        # ViZDoom leaves files in the directory in which it is started, so it is started in a temporary one.
        _tidy()
        self._game = _new_game()
        self._end = weakref.finalize(self, self._game.close)
        before = os.getcwd()
        with tempfile.TemporaryDirectory(prefix=f"take-cover-{os.getpid()}-") as folder:
            self._game.set_vizdoom_path(_engine(folder))
            os.chdir(folder)
            try:
                self._game.init()
            finally:
                os.chdir(before)
            with open(os.path.join(folder, "arguments")) as file:
                pid, *arguments = file.read().splitlines()
        _unlink(arguments[arguments.index("+viz_instance_id") + 1])
        with contextlib.suppress(AttributeError, ProcessLookupError):  # Linux alone has pidfds
            threading.Thread(target=_attend, args=(os.pidfd_open(int(pid)), self._calls), daemon=True).start()

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self._seed = int(self.np_random.integers(2**31)) if seed is None else seed % 2**32
        self._done = []
        self._in_spite_of_failures(self._begin)
        return self._observe(), {}

    def _begin(self):
        """Bring the engine to where the episode is: to its beginning, and through the actions that were done."""
        if self._game is None:
            self._start()
        self._game.set_seed(self._seed)
        self._game.new_episode()
        for buttons in self._done:
            self._game.make_action(buttons)
            self._calls[0] += 2

    def _in_spite_of_failures(self, function):
        """function(), once more with a new engine where the engine has failed."""
        try:
            return self._called(function)
        except FAILURES as error:
            print(f"Doom's engine has failed ({_reason(error)}) and is started again", file=sys.stderr, flush=True)
        try:
            self.close()
            self._called(self._begin)
            return self._called(function)
        except FAILURES as error:
            raise UserError(f"Doom's engine has failed twice ({_reason(error)}): run the same command again") from None

    def _called(self, function):
        """function(), which calls ViZDoom: see `_attend`."""
        self._calls[0] += 1
        try:
            return function()
        finally:
            self._calls[0] += 1

    def step(self, action):
        (a,) = checked_action(action, 1)
        buttons = LEFT if a < -THRESHOLD else RIGHT if a > THRESHOLD else STAND
        self._in_spite_of_failures(lambda: self._make(buttons))
        self._done.append(buttons)
        terminated = self._game.is_player_dead()
        truncated = self._game.is_episode_finished() and not terminated
        return self._observe(), 1.0, terminated, truncated, {}

    def _make(self, buttons):
        if self._game is None or self._game.is_running() and self._game.is_episode_finished():
            raise ResetNeeded("call reset before the first step, and after an episode's end")
        self._game.make_action(buttons)

    def _observe(self):
        state = self._game.get_state()
        self._screen = np.zeros(SCREEN, np.uint8) if state is None else state.screen_buffer
        return self._preprocess(self._screen[:CROP])

    def render(self):
        """The whole screen, (480, 640, 3) uint8, if the render mode is "rgb_array", else None."""
        return self._screen.copy() if self.render_mode == "rgb_array" else None

    def close(self):
        if self._game is not None:
            self._end()
            self._game = None


def random_policy(game, rng):
    """The published one: a ~ U(-1, 1), kept for 1 to `record_hold` frames, 10 as published.

    With a larger `record_hold` each episode has its own limit, from 10 to that, as often below as above their geometric mean.
    So some players turn often, and others stay at a wall until they die there; M needs both. This is not in the article.
    """
    longest, published = game.record_hold, Game.record_hold
    if longest > published:
        longest = int(np.exp(rng.uniform(np.log(published), np.log(longest + 1))))
    action, until = None, 0

    def act(t):
        # As in the original, there is a new action where the frame's number is a multiple of the last repeat: not always
        # `repeat` frames after the one before.
        nonlocal action, until
        if t % (until or 1) == 0:
            action, until = rng.uniform(-1, 1), int(rng.integers(1, longest + 1))
        return np.array([action], np.float32)

    return act


# Steps of `to_and_fro`: from the middle of the room to a wall, and from there to the other. Or (first, steps) of one who turns
# 84, 184 or 284 units before the walls. y is 16 at the right wall and 752 at the left one.
SWEEP, FIRST, LEG = "walking from wall to wall", 56, 102
NARROWER = {84: (41, 82), 184: (29, 58), 284: (17, 34)}


def blind_players(game, rng):
    return {
        "always left": constant_policy(-1),
        "always right": constant_policy(1),
        "standing still": constant_policy(0),
        "a fresh action each step": uniform_policy(game, rng),
        **{f"walking, turns {margin} before walls": to_and_fro(steps, first) for margin, (first, steps) in NARROWER.items()},
        SWEEP: to_and_fro(LEG, FIRST),
    }


GAME = Game(
    name="doom",
    environment=DoomTakeCover,
    real_id="WorldModels/DoomTakeCover-v0",
    max_steps=TIMEOUT,
    timeout=False,  # Take Cover ends by itself
    frames_per_second=35,
    action_maps=("signed",),  # left below -1/3, right above 1/3
    mirrored_action=(-1,),
    keys={"left": (-1,), "right": (1,)},
    options={"preprocess": OPTION},
    random_policy=random_policy,
    blind_players=blind_players,
    walk=(SWEEP, FIRST, LEG),
    dream_id="WorldModels/DoomRNN-v0",
    train_world="dream",
    whole_episodes=False,
    predict_restart=True,
    survival_reward=1.0,
    controller_bias=False,  # as the authors' controller
    record_max_steps=TIMEOUT,
    record_min_frames=100,
    z_size=64,
    rnn_size=512,
    rnn_seq_len=500,
    rnn_decay=0.99999,  # for 400 epochs in the authors' code
    dream_temperature=1.15,  # in which the article's best agent learned; the authors' code has 1.25 by default
    dream_max_steps=2100,
    controller_mode="zch",
    controller_max_steps=TIMEOUT,
    published={
        "real": (
            ("random policy", 210, 108),
            ("Gym leaderboard", 820, 58),
            ("learned in the dream at 0.10", 193, 58),
            ("learned in the dream at 0.50", 196, 50),
            ("learned in the dream at 1.00", 868, 511),
            ("learned in the dream at 1.15", 1092, 556),
            ("learned in the dream at 1.30", 753, 139),
        ),
        "dream": (
            ("temperature 0.10", 2086, 140),
            ("temperature 0.50", 2060, 277),
            ("temperature 1.00", 1145, 690),
            ("temperature 1.15", 918, 546),
            ("temperature 1.30", 732, 269),
        ),
    },
    original=Original(
        folder="doomrnn",
        places={
            what: (f"tf_models/{what}.json", f"tf_{what}/{what}.json", f"{what}.json") for what in ("vae", "rnn", "initial_z")
        },
        log="log/doomrnn",
        worlds={"doomrnn": "dream", "doomreal": "real"},
    ),
    scales={
        "quick": dict(
            record_episodes=500,
            # With actions held for at most 10 frames, the player stays in the middle of the room in so few episodes. Then
            # M does not learn that the walls are deadly, and C hides there.
            record_hold=300,
            vae_channels=16,  # with half the filters, and half of M's units, there is time for more episodes and more passes
            vae_batch_size=32,
            vae_learning_rate=3e-4,  # at 1e-3 Doom's V learns only the mean picture
            rnn_batch_size=16,
            rnn_seq_len=64,  # shorter sequences give more updates
            rnn_size=256,
            rnn_epochs=32,
            controller_population=32,
            controller_episodes=8,
            controller_step_size="tpa",
            controller_generations=10,
            controller_eval_steps=5,
            controller_eval_episodes=64,
        ),
        "smoke": dict(record_max_steps=150, rnn_seq_len=50, dream_max_steps=40, round={}),
    },
    round=dict(  # not measured yet
        record_episodes=400,
        record_hold=300,
        vae_min_gain=0.01,
        controller_generations=25,
    ),
)
