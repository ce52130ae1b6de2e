"""Play a game, or M's dream of it, by hand in a window.   python play.py GAME --world dream

The arrow keys play, several at once too; Escape ends it. Each episode's score is printed at its end.
"""

import itertools
import os
import warnings

import gymnasium
import numpy as np

from world_models.config import UserError
from world_models.job.command import CommandLine, run_script
from world_models.job.machine import load_tensorflow
from world_models.job.rundir import need, pretrained, world_keywords

HEIGHT = 512  # pixels, about which the window has


def main(argv=None):
    command = CommandLine(__doc__, "dream")
    add = command.add
    add("--world", choices=("real", "dream"), default="real", help="the real game, or M's dream of it (default: real)")
    add("--pretrained", action="store_true", help="the dream that comes with this repository, instead of --run-dir's")
    add("--episodes", type=int, help="end after this many (default: with the window)")
    add("--speed", type=float, default=1.0, help="2 is twice as fast as the game (default: 1)")
    command.add_world_options()
    game, args = command.parse(argv)
    if not game.keys:
        raise UserError(f"nobody has said which keys play {game.name}: give its Game `keys`")
    if args.episodes is not None and args.episodes < 1:
        raise UserError(f"--episodes is {args.episodes}: give 1 or more")
    if not 0 < args.speed < float("inf"):
        raise UserError(f"--speed is {args.speed}: give a number above 0")
    if args.pretrained:
        args.run_dir = pretrained(game.name)
    play(game, args)


def play(game, args):
    """Open the window, until it is closed or --episodes have been played. Raises UserError where there is no screen."""
    pygame, play_in_window = _gymnasiums()
    try:
        pygame.display.init()
    except pygame.error as error:
        raise UserError(f"no window can be opened here ({error}): play where there is a screen") from None
    world = InOrder(_world(game, args), args.seed)
    score, played = [], 0

    def told(before, after, action, reward, terminated, truncated, info):
        nonlocal played
        score.append(reward)
        if terminated or truncated:
            print(f"seed {world.seed}: {len(score)} steps, score {np.sum(score):.1f}", flush=True)
            score.clear()
            played += 1
            if played == args.episodes:
                pygame.event.post(pygame.event.Event(pygame.QUIT))

    print(f"keys: {', '.join(game.keys)}; Escape ends it", flush=True)
    world.reset()
    play_in_window(
        world,
        fps=max(1, round(game.frames_per_second * args.speed)),
        zoom=max(1, HEIGHT // world.render().shape[0]),
        callback=told,
        keys_to_action=_actions(game, pygame),
        noop=np.zeros(game.action_size, np.float32),
    )
    world.close()


def _gymnasiums():
    """(pygame, gymnasium.utils.play.play)."""
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it asks for Matplotlib's Tk, which only its plots need
        import pygame
        from gymnasium.utils.play import play
    return pygame, play


def _world(game, args):
    if args.world == "real":
        keywords = world_keywords(game, args, args.run_dir)
        return gymnasium.make(game.real_id, render_mode="rgb_array", disable_env_checker=True, **keywords)
    need(args.run_dir, "rnn", "rnn.keras", game.name)
    load_tensorflow(1)
    import world_models.doomrnn  # noqa: F401, registers the dreams

    keywords = {"run_dir": args.run_dir, "max_steps": game.dream_max_steps, **game.dream_rules}
    return gymnasium.make(game.dream_id, render_mode="rgb_array", disable_env_checker=True, **keywords)


def _actions(game, pygame):
    """{codes of keys that are pressed together: action}, for every set of the game's keys."""
    names, pressed = list(game.keys), {}
    lowest = np.array(game.lowest_action)
    for count in range(1, len(names) + 1):
        for some in itertools.combinations(names, count):
            codes = tuple(pygame.key.key_code(name) for name in some)
            pressed[codes] = np.clip(np.sum([game.keys[name] for name in some], axis=0), lowest, 1).astype(np.float32)
    return pressed


class InOrder(gymnasium.Wrapper):
    """Episodes with the seeds `first`, first + 1, and so on. A reset before the first step begins the same one again."""

    def __init__(self, env, first):
        super().__init__(env)
        self.seed, self._moved = first, False

    def reset(self, *, seed=None, options=None):
        self.seed += self._moved
        self._moved = False
        return self.env.reset(seed=self.seed, options=options)

    def step(self, action):
        self._moved = True
        return self.env.step(action)


if __name__ == "__main__":
    run_script(main)
