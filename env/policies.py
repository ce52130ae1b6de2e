"""The random policies: those that record what V and M learn from, and the plainest ones, as baselines.

A policy is a function act(t) -> (A,) float32 of the frame's number t, from 0, for one episode. It sees no pixels.
"""

import numpy as np


def extraction_policy(game, rng):
    """The random policy that `game` is recorded with, for one episode."""
    return game.random_policy(game, rng)


def uniform_policy(game, rng):
    """A fresh uniform action in each frame: the article's random baseline."""
    return lambda t: rng.uniform(game.lowest_action, 1).astype(np.float32)


def constant_policy(*action):
    """The same action in each frame."""
    return lambda t: np.array(action, np.float32)


def to_and_fro(steps):
    """An action of one number: its least for `steps` frames, its greatest for as many, and so on."""
    return lambda t: np.array([1 if t // steps % 2 else -1], np.float32)


def exploration(game, rng, share):
    """What the random policy of `extraction_policy` forces on an agent in one episode: actions, NaN where the agent decides.

    Who decides is drawn anew after 1 to `record_hold` frames; it is the random policy with the probability `share`.
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
    """One episode of act(t) -> (A,) in a bare environment: (obs (T,64,64,3), actions (T,A), rewards (T,), dones (T,))."""
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
