"""play.py in a window that SDL keeps in memory, with keys in pygame's own queue."""

import gymnasium
import numpy as np
import pygame
import pytest

import doomrnn  # noqa: F401, registers the dreams
import play
from config import GAMES, UserError

KEY = pygame.K_RIGHT


@pytest.fixture(autouse=True)
def window(monkeypatch):
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    pygame.display.init()
    pygame.event.post(pygame.event.Event(pygame.KEYDOWN, key=KEY))  # the first thing that the window is told
    yield
    pygame.quit()


def _score(world, seed, action):
    """(steps, score) of the episode of `seed` with the same action in every step."""
    world.reset(seed=seed)
    rewards, over = [], False
    while not over:
        _, reward, died, cut, _ = world.step(np.float32(action))
        rewards.append(reward)
        over = died or cut
    return f"{len(rewards)} steps, score {np.sum(rewards):.1f}"


@pytest.mark.parametrize("world", ["real", "dream"])
def test_a_key_that_is_held_plays_its_action_in_episodes_with_seeds_in_order(world, pendulum_run, capsys):
    game = GAMES["pendulum"]
    options = ["--seed", "3", "--episodes", "2", "--speed", "1000", "--run-dir", str(pendulum_run), "--dream-max-steps", "50"]
    play.main(["pendulum", "--world", world, *options])
    keywords = {"run_dir": str(pendulum_run), "max_steps": 50} if world == "dream" else {}
    same = gymnasium.make(game.dream_id if keywords else game.real_id, **keywords)
    assert capsys.readouterr().out.splitlines()[1:] == [f"seed {s}: {_score(same, s, game.keys['right'])}" for s in (3, 4)]


def test_keys_pressed_together_do_both():
    actions = play._actions(GAMES["carracing"], pygame)
    left, right, up = pygame.K_LEFT, pygame.K_RIGHT, pygame.K_UP
    assert actions[left, up].tolist() == [-1, 1, 0] and actions[left, right].tolist() == [0, 0, 0]
    assert len(actions) == 15 and all(action in GAMES["carracing"].environment().action_space for action in actions.values())


def test_escape_ends_it():
    pygame.event.post(pygame.event.Event(pygame.KEYDOWN, key=pygame.K_ESCAPE))
    play.main(["pendulum"])


def test_without_a_screen_it_says_so(monkeypatch):
    pygame.quit()
    monkeypatch.setenv("SDL_VIDEODRIVER", "x11")
    monkeypatch.delenv("DISPLAY", raising=False)
    with pytest.raises(UserError, match="no window can be opened here"):
        play.main(["pendulum"])


@pytest.mark.parametrize("options", ["--episodes 0", "--speed 0", "--speed nan", "--world dream --run-dir nowhere"])
def test_bad_input_is_one_sentence(options):
    with pytest.raises(UserError, match="--episodes is 0|--speed is|rnn.keras is missing"):
        play.main(["pendulum", *options.split()])
