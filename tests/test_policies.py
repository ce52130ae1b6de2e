"""The random policies: the distributions of their actions and of how long they hold them."""

from dataclasses import replace

import numpy as np
import pytest
import vizdoom

import env
from config import GAMES
from env.doom import NARROWER, SWEEP
from env.policies import exploration, extraction_policy, uniform_policy

CAR, DOOM = GAMES["carracing"], GAMES["doom"]


def test_the_cars_extraction_policy_is_a_random_controller_on_noise():
    acts = []
    for seed in range(400):
        act = extraction_policy(CAR, np.random.default_rng(seed))
        acts.append([act(t) for t in range(20)])
    acts = np.array(acts)
    assert acts.dtype == np.float32 and acts.shape == (400, 20, 3)
    rng = np.random.default_rng(17)  # the same episode, computed step by step
    scale, weights, bias = rng.uniform(0, 0.01), rng.standard_cauchy((3, 32)), rng.standard_cauchy(3)
    steer, gas, brake = np.tanh(scale * (weights @ rng.standard_normal(32) + bias))
    np.testing.assert_allclose(acts[17, 0], [steer, (gas + 1) / 2, np.clip(brake, 0, 1)], rtol=1e-5)
    spread = acts[:, :, 0].std(axis=1)
    # Cauchy: |W z| / s is typically some 40, seldom hundreds. Most episodes hardly steer, some steer hard.
    assert 0.05 < np.median(spread) < 0.4 and 0.02 < (spread > 0.6).mean() < 0.3
    assert abs(acts[..., 1].mean() - 0.5) < 0.02 and abs((acts[..., 2] == 0).mean() - 0.5) < 0.05


def test_dooms_extraction_policy_keeps_an_action_for_up_to_ten_frames():
    act = extraction_policy(DOOM, np.random.default_rng(0))
    actions = np.array([act(t) for t in range(20_000)])
    assert actions.dtype == np.float32 and actions.shape == (20_000, 1)
    lengths, drawn = _runs(actions[:, 0])
    assert lengths.min() == 1 and lengths.max() == 10
    assert abs(drawn.mean()) < 0.03 and abs(drawn.std() - 1 / np.sqrt(3)) < 0.02

    # The original's loop, with other random numbers.
    rng = np.random.RandomState(0)
    repeat, original = rng.randint(1, 11), []
    for frame in range(20_000):
        if frame % repeat == 0:
            action = rng.rand() * 2 - 1
            repeat = rng.randint(1, 11)
        original.append(action)
    shares, expected = (np.bincount(run, minlength=11) / len(run) for run in (lengths, _runs(original)[0]))
    np.testing.assert_allclose(shares, expected, atol=0.02)


def test_with_longer_holds_each_episode_has_its_own_limit():
    longest = []
    for seed in range(200):
        act = extraction_policy(replace(DOOM, record_hold=300), np.random.default_rng(seed))
        longest.append(_runs(np.array([act(t) for t in range(3000)])[:, 0])[0].max())
    assert 10 <= min(longest) < 13 and 270 < max(longest) <= 300
    assert abs(np.mean(np.array(longest) < (10 * 300) ** 0.5) - 0.5) < 0.1  # as often below the geometric mean as above it


def _runs(actions):
    """(lengths, actions) of the stretches in which the action stays."""
    starts = np.flatnonzero(np.diff(actions, prepend=2))
    return np.diff(starts), np.asarray(actions)[starts]


def test_uniform_policies_fill_the_action_space():
    for game in (CAR, DOOM):
        act, space = uniform_policy(game, np.random.default_rng(0)), env.make(game).action_space
        actions = np.array([act(t) for t in range(5000)])
        assert space.contains(actions[0]) and len(np.unique(actions, axis=0)) == 5000
        np.testing.assert_allclose(actions.min(axis=0), space.low, atol=0.01)
        np.testing.assert_allclose(actions.max(axis=0), space.high, atol=0.01)
        np.testing.assert_allclose(actions.mean(axis=0), (space.low + space.high) / 2, atol=0.03)


@pytest.mark.parametrize("share", [0, 0.3, 1])
def test_exploration_takes_its_share_of_the_steps(share):
    """The random policy's actions in stretches of 1 to record_hold frames; elsewhere NaN, so that the agent acts."""
    game = replace(DOOM, record_hold=20)
    force = exploration(game, np.random.default_rng(0), share)
    actions = np.array([force(t) for t in range(20_000)])
    forced = ~np.isnan(actions[:, 0])
    assert actions.shape == (20_000, 1) and abs(forced.mean() - share) < 0.03
    if share == 0.3:
        turns = np.diff(np.flatnonzero(np.diff(forced, prepend=2)))
        assert turns.min() == 1 and np.median(turns) > 5
    if share:
        _, drawn = _runs(actions[forced, 0])
        assert abs(drawn.mean()) < 0.05 and abs(drawn.std() - 1 / np.sqrt(3)) < 0.03


@pytest.mark.parametrize("margin", [0, *NARROWER])
def test_blind_walkers_turn_where_they_say(margin):
    """In the game itself: y goes from 16 + margin at the right to 752 - margin at the left, also after many turns."""
    act = DOOM.blind_players(DOOM, None)[f"walking, turns {margin} before walls" if margin else SWEEP]
    world = env.make(DOOM)
    world.reset(seed=0)
    world._game.send_game_command("god")
    places = []
    for t in range(1000):
        places.append(world._game.get_game_variable(vizdoom.GameVariable.POSITION_Y))
        world.step(act(t))
    world.close()
    assert abs(max(places[500:]) - (752 - margin)) < 25 and abs(min(places[500:]) - (16 + margin)) < 25
