"""Whole dreams of any number of controllers in one graph call.

The batch is kept full: when a row's dream ends, the next waiting episode starts there at once. When none is waiting, the batch
shrinks through a few sizes with the number of unfinished dreams. A dream is bit-identical whichever rows share its batch.
"""

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import tensorflow as tf

from world_models.dream.dream import LONGEST


class Population:
    """Rollouts of controllers in `dream`, on `lanes` threads, each with at most `rows` dreams at once.

    act(z (B,Z), state (h, c), params (B,P)) -> actions (B,A): a row's actions must not depend on the batch, as with
    `Controller.act`. rows: rounded up to one of the kernel's sizes, by default the largest of them. A CPU is no faster with
    more rows, and the last dreams would leave more of the batch empty. For the lanes to run in parallel, TensorFlow must have
    as many inter-op threads.
    """

    def __init__(self, dream, act, rows=None, lanes=1):
        self._lanes = [_Lane(dream.kernel(), act, rows) for _ in range(lanes)]
        self.dream = dream

    def __call__(self, params, owners, seeds, max_steps=None, with_actions=False):
        """(scores (N,) float64, steps (N,) int64) of N dreams; with_actions: also a list of N arrays, each (steps,A).

        params: (K,P). owners: (N,), the row of params that plays each dream. seeds: (N,), each below 2^32. max_steps: where
        dreams are cut, by default the Dream's max_steps.
        """
        params, owners = tf.constant(params, tf.float32), np.asarray(owners, np.int32)
        seeds, max_steps = np.asarray(seeds, np.uint32), self.dream.max_steps if max_steps is None else max_steps
        shares = [slice(i, None, len(self._lanes)) for i in range(min(len(self._lanes), len(seeds)))]

        def run(lane, share):
            return lane.run(params, owners[share], seeds[share], tf.constant(min(max_steps, LONGEST), tf.int32), with_actions)

        with ThreadPoolExecutor(len(shares)) as threads:
            results = list(threads.map(run, self._lanes, shares))
        scores, steps = np.zeros(len(seeds)), np.zeros(len(seeds), np.int64)
        for share, (returns, lengths, *_) in zip(shares, results, strict=True):
            scores[share], steps[share] = returns, lengths
        if not with_actions:
            return scores, steps
        actions = [np.zeros((count, self.dream.rnn.action_size), np.float32) for count in steps]
        for share, (_, _, episodes, times, taken) in zip(shares, results, strict=True):
            mine = np.arange(len(seeds))[share]
            for episode, t, action in zip(episodes, times, taken, strict=True):
                if episode < len(mine):  # rows without a dream are left out
                    actions[mine[episode]][t] = action
        return scores, steps, actions


class _Lane:
    """The dreams of one thread."""

    def __init__(self, kernel, act, rows):
        self.kernel, self.act = kernel, act
        most = min((size for size in kernel.sizes if rows and size >= rows), default=kernel.sizes[-1])
        self.sizes = [size for size in kernel.sizes if size <= most]
        self._decide = tf.function(self._fused_decision, jit_compile=True, autograph=False)
        inputs = [((None, None), tf.float32), ((None,), tf.int32), ((None,), tf.uint32), ((), tf.int32), ((), tf.int32)]
        inputs = [tf.TensorSpec(*spec) for spec in inputs]  # one graph, however many controllers and episodes
        self._graphs = {
            record: tf.function(partial(self._rollout, record), inputs, autograph=False) for record in (False, True)
        }

    def run(self, params, owners, seeds, max_steps, with_actions):
        size = min((size for size in self.sizes if size >= len(seeds)), default=self.sizes[-1])
        rollout = self._graphs[with_actions]
        return [part.numpy() for part in rollout(params, tf.constant(owners), tf.constant(seeds), max_steps, tf.constant(size))]

    def _fused_decision(self, z, h, c, params, seeds):
        """([z, h] as the kernel's `join` makes it, the actions of each row's controller)."""
        return self.kernel.join(z, h, seeds), self.act(z, (h, c), params)

    def _rollout(self, with_actions, params, owners, seeds, max_steps, size):
        """(scores (N,), steps (N,)) of N episodes; with_actions also episode, time (S,) and action (S,A) of all S row-steps."""
        kernel, count = self.kernel, tf.shape(seeds)[0]
        # Rows without a dream have the episode number `count`. They are computed but ignored.
        owners, seeds = (tf.concat([part, part[:1]], axis=0) for part in (owners, seeds))
        sizes = tf.constant(self.sizes)

        def seat(episode):
            """The initial seeds, parameters, scores, steps, z, h and c of rows that begin the episodes `episode` (B,)."""
            seed, score = tf.gather(seeds, episode), tf.zeros(tf.shape(episode))
            return seed, tf.gather(params, tf.gather(owners, episode)), score, tf.zeros_like(episode), *kernel.start(seed)

        def turn(over, scores, lengths, upcoming, episode, *rows):
            """Store the results of dreams that ended, start others in their rows, drop rows when no dream is left to start."""
            where = tf.boolean_mask(episode, over)[:, None]
            scores = tf.tensor_scatter_nd_update(scores, where, tf.boolean_mask(rows[2], over))
            lengths = tf.tensor_scatter_nd_update(lengths, where, tf.boolean_mask(rows[3], over))
            drawn = tf.where(over, upcoming + tf.cumsum(tf.cast(over, tf.int32), exclusive=True), count)
            begins = over & (drawn < count)
            episode = tf.where(over, tf.minimum(drawn, count), episode)
            upcoming += tf.reduce_sum(tf.cast(begins, tf.int32))
            rows = [
                tf.where(begins[:, None] if old.shape.rank == 2 else begins, new, old)
                for old, new in zip(rows, seat(episode), strict=True)
            ]
            dreaming = tf.reduce_sum(tf.cast(episode < count, tf.int32))
            smaller = tf.reduce_min(tf.where(sizes >= dreaming, sizes, sizes[-1]))
            keep = tf.argsort(tf.cast(episode == count, tf.int32), stable=True)[: tf.minimum(smaller, tf.shape(episode)[0])]
            return scores, lengths, upcoming, *[tf.gather(part, keep) for part in (episode, *rows)]

        def body(record, scores, lengths, upcoming, episode, seed, weights, score, steps, z, h, c):
            z_and_h, actions = self._decide(z, h, c, weights, seed)
            if with_actions:
                record = [part.write(part.size(), value) for part, value in zip(record, (episode, steps, actions), strict=True)]
            z, h, c, reward, died = kernel.step_joined(z_and_h, actions, c, seed, steps)
            score, steps = score + reward, steps + 1
            over = (died | (steps >= max_steps)) & (episode < count)
            state = scores, lengths, upcoming, episode, seed, weights, score, steps, z, h, c
            return record, *tf.cond(tf.reduce_any(over), lambda: turn(over, *state), lambda: state)

        episode = tf.minimum(tf.range(size), count)
        scores, lengths = tf.zeros((count + 1,)), tf.zeros((count + 1,), tf.int32)
        record = []
        if with_actions:
            shapes = ((tf.int32, [None]), (tf.int32, [None]), (tf.float32, [None, None]))
            record = [tf.TensorArray(t, 0, dynamic_size=True, infer_shape=False, element_shape=s) for t, s in shapes]
        state = record, scores, lengths, tf.minimum(size, count), episode, *seat(episode)
        rows = [tf.TensorShape([None, *part.shape[1:]]) for part in state[4:]]
        shapes = [tf.TensorShape([])] * len(record), scores.shape, lengths.shape, tf.TensorShape([]), *rows
        record, scores, lengths, *_ = tf.while_loop(
            lambda record, scores, lengths, upcoming, episode, *_: tf.reduce_any(episode < count),
            body,
            state,
            shape_invariants=shapes,
        )
        return scores[:-1], lengths[:-1], *[part.concat() for part in record]
