"""Training M on the encoded episodes of a run."""

import os
import time
import zlib

import numpy as np

from world_models.config import UserError, stage_settings
from world_models.env.record import in_a_pass, split
from world_models.job.deep import keras
from world_models.job.rundir import Atomic, Progress, Stage, digest, start_settings
from world_models.job.training import Checkpoints, Watch, record
from world_models.rnn.batches import Series, episode_streams, streams, whole_episodes
from world_models.rnn.beginnings import save_beginnings, save_initial_z
from world_models.rnn.encoding import other_v
from world_models.rnn.rnn import MDNRNN
from world_models.rnn.teacher import Teacher
from world_models.vae.vae import begin_with


def train(game, args, series_path, vae_path):
    """series/series.npz -> rnn/rnn.keras and where dreams begin in the run `args.run_dir`. args: those of rnn.train.

    vae_path: the file of the V that must have made the series; None if the series does not name its V.
    """
    series = Series(series_path)
    if vae_path is None:
        print(f"{series_path} does not say which V made it: whether that is the V of this run was not checked")
    elif series.vae != digest(vae_path):
        raise UserError(other_v(series_path, vae_path, game.name))
    if series.action.shape[1] != game.action_size:
        raise UserError(f"{series_path} has actions of {series.action.shape[1]} numbers: it is not of the game {game.name}")
    if game.predict_reward and not np.isfinite(series.reward).all():
        raise UserError(f"{series_path} has frames without a reward, which M of {game.name} is to predict: record them anew")
    number = {name: i for i, name in enumerate(series.episode)}
    kept, held_out = ([number[name] for name in part] for part in split(series.episode))
    _check_amount(game, series, _order(game, series, kept, args.seed, 0))
    made_by = series.vae or f"unknown, of mu {zlib.crc32(series.mu):08x}"  # so that a different series is detected
    settings = {
        **stage_settings(game, "rnn", "half_new"),
        "vae": made_by,
        "episodes": f"{len(series.episode)} ({series.length.sum()})",
        "actions": f"{zlib.crc32(series.action):08x}",
    }
    settings |= {"precision": args.precision, **start_settings(args)}
    checkpoints = Checkpoints(os.path.join(args.run_dir, "rnn"))
    finished = checkpoints.finished("rnn.keras", game.rnn_epochs)
    with Stage(args.run_dir, "rnn", settings, args.seed) as stage:
        if finished:
            print(f"{stage.path('rnn.keras')} is finished: {checkpoints.done} epochs")
            return
        _train(game, args, stage, checkpoints, series, kept, held_out)


def _order(game, series, kept, seed, epoch):
    """The episodes of `kept` that the pass `epoch` takes, in its random order."""
    names = [series.episode[episode] for episode in kept]
    return np.array(kept)[in_a_pass(names, game.half_new, np.random.default_rng([seed, epoch]))]


def _check_amount(game, series, kept):
    """Print how many episodes are cut off. Raises UserError where the episodes `kept` do not fill one update."""
    if game.whole_episodes:
        cut = sum(series.length[episode] - 1 > game.rnn_seq_len for episode in kept)
        if cut:
            print(f"{cut} of {len(kept)} episodes are longer than {game.rnn_seq_len} transitions: the rest of them is not used")
        if all(series.length[episode] < 2 for episode in kept):
            raise UserError(f"the training episodes have no transitions: record more with `python extract.py {game.name}`")
        return
    transitions = sum(int(series.length[episode]) for episode in kept) - 1
    if transitions < game.rnn_batch_size * game.rnn_seq_len:
        raise UserError(
            f"the training episodes have {transitions} transitions, fewer than the {game.rnn_batch_size} x {game.rnn_seq_len} "
            "of one update: lower --batch-size or --seq-len, or record more"
        )


def _train(game, args, stage, checkpoints, series, kept, held_out):
    """Train from the last checkpoint. `kept` and `held_out` are numbers of episodes in `series`."""
    keras.utils.set_random_seed(args.seed)  # for the initial weights
    z_size = series.mu.shape[1]
    model = MDNRNN(z_size, game.action_size, game.rnn_size, game.num_mixture, **game.predicts)
    if args.start:
        begin_with(model, args.start, model.weights_in)
    shape = game.rnn_batch_size, game.rnn_seq_len
    carry = not game.whole_episodes
    how = game.rnn_restart_weight, args.seed, args.precision, game.reward_scale, game.rnn_dropout, game.least_reward
    teacher = Teacher(model, game.rnn_batch_size, carry, *how)
    rate = game.rnn_learning_rate
    if game.rnn_decay != 1:
        rate = keras.optimizers.schedules.ExponentialDecay(rate, decay_steps=1, decay_rate=game.rnn_decay)
    optimizer = keras.optimizers.Adam(rate, clipvalue=game.rnn_grad_clip)
    # XLA compiles only the arithmetic between the products (rnn.lstm, rnn.likelihood). It would run the products on one core.
    teacher.compile(optimizer=optimizer, jit_compile=False)
    done = checkpoints.restore(teacher)

    validate = whole_episodes if game.whole_episodes else episode_streams
    kept = [episode for episode in kept if series.length[episode] > 1 or not game.whole_episodes]

    def plan(epoch):
        order = _order(game, series, kept, args.seed, epoch)
        if not game.whole_episodes:
            return streams(series, order, *shape)
        return whole_episodes(series, order, *shape, _beginnings(game, args.seed, epoch))

    counted = game.rnn_epochs if game.half_new else 1  # without --half-new all epochs have as many updates as the first
    updates = [sum(1 for _ in plan(epoch)) for epoch in range(counted)] * (game.rnn_epochs // counted)
    held_out_batches = sum(1 for _ in validate(series, held_out, *shape))
    progress = Progress(sum(updates), "M updates", initial=sum(updates[:done]))
    for epoch in range(done, game.rnn_epochs):
        start = time.time()
        batches = series.dataset(plan(epoch), *shape)
        teacher.reset()
        # Without the number of steps Keras would start one too many, and count it.
        watch = [Watch(progress)]
        history = teacher.fit(batches, steps_per_epoch=updates[epoch], verbose=0, shuffle=False, callbacks=watch).history
        values = {name: numbers[0] for name, numbers in history.items()}
        if held_out:
            teacher.reset()
            batches = series.dataset(validate(series, held_out, *shape), *shape)
            seen = teacher.evaluate(batches, steps=held_out_batches, verbose=0, return_dict=True)
            seen["loss"] = sum(seen[name] for name in teacher.losses_by_name)  # over all steps; Keras's mean is over batches
            values |= {f"val_{name}": value for name, value in seen.items()}
        title = f"M epoch {epoch + 1}/{game.rnn_epochs}"
        seconds = round(time.time() - start, 1)
        record(stage, title, int(optimizer.iterations), values, epoch=epoch + 1, seconds=seconds)
        if epoch + 1 == game.rnn_epochs:  # before the checkpoint that marks the training as finished
            _save(game, args.seed, model, stage, series, kept)
        checkpoints.save(teacher, epoch + 1)
    if done == game.rnn_epochs:
        _save(game, args.seed, model, stage, series, kept)
    progress.close()


def _save(game, seed, model, stage, series, kept):
    save_initial_z(stage.path("initial_z.json"), series, kept)
    if game.rnn_anywhere:
        save_beginnings(stage.path("beginnings.npz"), model, series, kept, _beginnings(game, seed, game.rnn_epochs))
    with Atomic(stage.path("rnn.keras")) as temporary:
        model.save(temporary)


def _beginnings(game, seed, epoch):
    """The generator that draws where sequences and dreams begin; None where they begin with the episodes."""
    return np.random.default_rng([seed, epoch, 1]) if game.rnn_anywhere else None
