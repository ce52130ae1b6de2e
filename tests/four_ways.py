"""The same dreams in the Gymnasium environment, in vector environments, in a population, and shared by the ranks of an MPI job.

    mpirun -n 2 python tests/four_ways.py PRECISION [SIZE ...]

It uses the pretrained Doom agent's M, with controllers whose dreams end early and late. Rank 0 asserts that a dream has the
same actions and the same length in each way, in batches of 1 to 128 rows, and prints the lengths as JSON. Rank 1 asserts that
the agents of the real games compute the same in any row of the batch. SIZE ...: batch sizes to use instead of those in
dream.rows. The results of a row may differ between them, and the kernel must detect that.
"""

import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from config import scaled  # noqa: E402  after the path
from job import machine  # noqa: E402

machine.load_tensorflow(2, lanes=True)

import gymnasium  # noqa: E402  after the thread counts
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402

import doomrnn  # noqa: E402, F401  registers the dreams
from controller.controller import Controller  # noqa: E402
from controller.rollout import DreamWorld, open_world  # noqa: E402
from dream import rows  # noqa: E402
from dream.dream import load_dream  # noqa: E402
from job.workers import Pool  # noqa: E402

RUN, STEPS = str(ROOT / "pretrained" / "doom"), 120
SEEDS = np.arange(100, 228)


def main(precision, *sizes):
    rows.SIZES = tuple(map(int, sizes)) or rows.SIZES
    pool = Pool()
    game = scaled("doom")
    dream = load_dream(RUN, game, max_steps=STEPS, precision=precision)
    controller = Controller(game, rnn=dream.rnn)
    params = np.random.default_rng(5).normal(0, 0.3, (len(SEEDS), controller.num_params))

    world = DreamWorld(controller, dream, episodes=1)
    units = [(params[k], SEEDS[k : k + 1].tolist()) for k in range(20, 40)]
    shared = [int(steps[0]) for _, steps in pool.map_shares(lambda share: world.rollouts(share, STEPS), units)]
    if pool.rank > 0:
        return sizes or real_worlds(precision)

    lengths, actions = dreams(world.population, params, len(SEEDS))
    assert lengths[20:40].tolist() == shared
    for count in (1, 7, 20, 50):
        others, taken = dreams(world.population, params, count)
        assert others.tolist() == lengths[:count].tolist()
        for mine, theirs in zip(actions, taken, strict=False):
            np.testing.assert_array_equal(mine, theirs)

    keywords = dict(run_dir=RUN, max_steps=STEPS, precision=precision)
    act = tf.function(controller.row_actions, jit_compile=True, autograph=False)
    single = gymnasium.make(game.dream_id, **keywords).unwrapped
    observation, over, length = single.reset(seed=int(SEEDS[0]))[0], False, 0
    while not over:
        action = act(observation[None], tf.constant(params[:1], tf.float32)).numpy()[0]
        np.testing.assert_array_equal(action, actions[0][length])
        observation, _, died, cut, _ = single.step(action)
        length, over = length + 1, died or cut
    assert length == lengths[0]
    for count in (3, len(SEEDS)):
        vector = gymnasium.make_vec(game.dream_id, num_envs=count, **keywords)
        vector.reset(seed=int(SEEDS[0]))
        found = np.zeros(count, int)
        for t in range(max(lengths[:count])):
            taken = [actions[i][min(t, lengths[i] - 1)] for i in range(count)]
            *_, died, cut, _ = vector.step(np.array(taken))
            found = np.where((found == 0) & (died | cut), t + 1, found)
        assert found.tolist() == lengths[:count].tolist()
    print(json.dumps(lengths.tolist()))


def real_worlds(precision):
    for name, episodes in (
        ("carracing", 3),
        ("carracing", 8),
        ("carracing", 9),
        ("carracing", 16),
        ("doom", 20),
        ("pendulum", 16),
    ):
        world = open_world("real", str(ROOT / "pretrained" / name), scaled(name), episodes, precision=precision)
        assert world._rows_alike(world.computed)


def dreams(population, params, count):
    """(lengths, actions) of the first `count` dreams, each each with its own controller."""
    return population(params, np.arange(count), SEEDS[:count], with_actions=True)[1:]


if __name__ == "__main__":
    main(*sys.argv[1:])
