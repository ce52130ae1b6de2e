"""The random policies: those that record what V and M learn from, and the plainest ones, as baselines.

A policy is a function act(t) -> (A,) float32 of the frame's number t, from 0, for one episode. It sees no pixels.
"""

import numpy as np


def _extraction_car(game, rng):
    # The authors give V, M and C random weights and divide V's and M's by 10,000. What is left is z ~ N(0, I), h = 0 and a C
    # with one Cauchy matrix an episode, whose scale is drawn too: some episodes hardly move, some hold the wheel hard over.
    scale = rng.uniform(0, 0.01)
    weights = rng.standard_cauchy((game.action_size, game.z_size)) * scale
    bias = rng.standard_cauchy(game.action_size) * scale

    def act(t):
        steer, gas, brake = np.tanh(weights @ rng.standard_normal(game.z_size) + bias)
        return np.array([steer, (gas + 1) / 2, max(brake, 0)], np.float32)

    return act


def _extraction_doom(game, rng):
    action, until = None, 0

    def act(t):
        # A new action wherever the frame's number is a multiple of the last repeat, as the original has it: not always
        # `repeat` frames after the one before.
        nonlocal action, until
        if t % (until or 1) == 0:
            action, until = rng.uniform(-1, 1), int(rng.integers(1, game.record_hold + 1))
        return np.array([action], np.float32)

    return act


def _uniform(low, game, rng):
    return lambda t: rng.uniform(low, 1, game.action_size).astype(np.float32)


_EXTRACTION = {"carracing": _extraction_car, "doom": _extraction_doom}
_LOWEST = {"carracing": (-1, 0, 0), "doom": (-1,)}  # the highest is 1 everywhere


def extraction_policy(game, rng):
    """The random policy that the published experiments recorded `game` with, for one episode.

    Car: a = tanh(W z + b), W (3,Z) and b (3,) Cauchy times s with s ~ U(0, 0.01), z ~ N(0, I) anew in each frame; gas is
    (a + 1) / 2, brake is clip(a, 0, 1). Doom: a ~ U(-1, 1), kept for 1 to `record_hold` frames, 10 as published.
    """
    return _EXTRACTION[game.name](game, rng)


def uniform_policy(game, rng):
    """A fresh uniform action in each frame: the article's random baseline in Doom."""
    return _uniform(_LOWEST[game.name], game, rng)


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
