"""Policies that do not look at the frames: the random ones that record V's and M's training data, and simple baselines.

A policy is a function act(t) -> (A,) float32 for one episode, where t is the number of the frame, from 0.
"""

import numpy as np


def extraction_policy(game, rng):
    """The random policy with which `game` is recorded, for one episode."""
    return game.random_policy(game, rng)


def uniform_policy(game, rng):
    """A new uniform action in each frame: the article's random baseline."""
    return lambda t: rng.uniform(game.lowest_action, 1).astype(np.float32)


def constant_policy(*action):
    """The same action in each frame."""
    return lambda t: np.array(action, np.float32)


def to_and_fro(steps, first=None):
    """A one-dimensional action that alternates: -1 for `first` frames, by default `steps`, then 1 and -1 for `steps` each."""
    lead = steps - (steps if first is None else first)
    return lambda t: np.array([1 if (t + lead) // steps % 2 else -1], np.float32)


def exploration(game, rng, share):
    """Random actions that interrupt an agent in one episode: force(t) -> (A,) float32, NaN where the agent acts.

    Every 1 to `record_hold` frames it is drawn again who acts. With the probability `share` it is the random policy.
    """
    act, until, forced = extraction_policy(game, rng), 0, False
    free = np.full(game.action_size, np.nan, np.float32)

    def force(t):
        nonlocal until, forced
        if t == until:
            until, forced = t + int(rng.integers(1, game.record_hold + 1)), rng.random() < share
        action = act(t)
        return action if forced else free

    return force


def play(world, act, seed, max_steps, full=False):
    """Play one episode of act(t) -> (A,) in `world`, an environment without wrappers.

    Returns (obs (T,64,64,3), actions (T,A), rewards (T,), dones (T,)).
    """
    frame, _ = world.reset(seed=seed)
    obs, actions, rewards, dones = [], [], [], []
    for t in range(max_steps):
        action = act(t)
        obs.append(frame)
        actions.append(action)
        frame, reward, terminated, truncated, _ = world.step(action)
        rewards.append(reward)
        dones.append(terminated or truncated)
        if dones[-1] and not full:
            break
    return np.array(obs), np.array(actions), np.array(rewards), np.array(dones)
