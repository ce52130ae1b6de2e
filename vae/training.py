"""Training V on the recorded frames of a run."""

import os
import time

import numpy as np

from world_models.config import UserError, stage_settings
from world_models.env.record import split
from world_models.job.deep import keras
from world_models.job.rundir import Atomic, Progress, Stage, read_log, start_settings
from world_models.job.training import Adam, Checkpoints, Watch, record
from world_models.vae.frames import FrameStream, fingerprints, held_out_frames, recorded, shards
from world_models.vae.vae import ConvVAE, begin_with

PATIENCE = 3  # passes that the held-out loss may stand still


def train(game, args):
    """record/*.npz -> vae/vae.keras in the run `args.run_dir`, resuming a stopped training. args: those of vae.train."""
    paths, lengths = recorded(args.run_dir, game, args.skip_bad)
    length = dict(zip(paths, lengths, strict=True))
    path_of = {os.path.basename(path): path for path in paths}
    kept, held_out = ([path_of[name] for name in part] for part in split(list(path_of)))
    frames = sum(length[path] for path in kept)
    if frames < game.vae_batch_size:
        raise UserError(
            f"{args.run_dir}/record has {frames} frames to train on, fewer than a batch of {game.vae_batch_size}: "
            f"record more with `python extract.py {game.name}`, or lower --batch-size"
        )
    settings = {
        **stage_settings(game, "vae", "mirror", "half_new"),
        **fingerprints(paths, lengths),
        "precision": args.precision,
    }
    settings |= start_settings(args)
    checkpoints = Checkpoints(os.path.join(args.run_dir, "vae"))
    parts = len(shards(kept, args.seed, 0, game.half_new))  # in each epoch
    finished = checkpoints.finished("vae.keras", game.vae_epochs, parts)
    with Stage(args.run_dir, "vae", settings, args.seed) as stage:
        if finished:
            print(f"{stage.path('vae.keras')} is finished: {checkpoints.done // parts} epochs")
            return
        _train(game, args, stage, checkpoints, kept, [length[path] for path in kept], held_out)


def _train(game, args, stage, checkpoints, paths, lengths, held_out):
    """Train from the last checkpoint. `paths` and `lengths` belong to the training episodes, `held_out` are paths too."""
    keras.utils.set_random_seed(args.seed)  # for the initial weights
    model = ConvVAE(game.z_size, game.vae_kl_tolerance, args.seed, args.precision, game.vae_channels)
    if args.start:
        begin_with(model, args.start)
    elif game.vae_from_mean and not checkpoints.done:
        model.begin_at(held_out_frames(paths, game.action_size, 1, args.skip_bad).mean(axis=(0, 1, 2)) / 255)
    # XLA takes twice as long here: on a CPU it does not use oneDNN's convolutions.
    model.compile(optimizer=Adam(game.vae_learning_rate), jit_compile=False)
    done = checkpoints.restore(model)
    unseen = held_out_frames(held_out, game.action_size, game.vae_batch_size, args.skip_bad)

    def seen():
        """How well V does on the held-out frames, {name: value}."""
        values = model.evaluate(unseen, batch_size=game.vae_batch_size, verbose=0, return_dict=True)
        return {f"val_{name}": value for name, value in values.items()}

    if args.start and not done and len(unseen):
        record(stage, "V as it begins", 0, seen(), epoch=0)
    epochs = range(game.vae_epochs)
    parts = [(epoch, part) for epoch in epochs for part in enumerate(shards(paths, args.seed, epoch, game.half_new))]
    shards_each = len(parts) // game.vae_epochs
    logged = {row["epoch"]: row["val_loss"] for row in read_log(stage.dir, "epoch", "val_loss")}  # an epoch's last row counts
    losses = [logged[epoch] for epoch in sorted(logged) if epoch * shards_each <= done]
    updates = [sum(lengths[i] for i in chosen) // game.vae_batch_size for _, (_, chosen) in parts]
    progress = Progress(sum(updates), "V updates", initial=sum(updates[:done]))
    for number, (epoch, (part, chosen)) in enumerate(parts[done:], done + 1):
        start = time.time()
        rng = np.random.default_rng([args.seed, epoch, part])
        episodes, steps = [paths[i] for i in chosen], updates[number - 1]
        stream = FrameStream(episodes, game.action_size, game.vae_batch_size, steps, rng, args.skip_bad, game.mirror)
        try:
            # Without the number of steps Keras would start one too many, and count it.
            watch = [Watch(progress)]
            history = model.fit(stream.dataset(), steps_per_epoch=steps, verbose=0, shuffle=False, callbacks=watch).history
        finally:
            if stream.error:
                raise stream.error
        values = {name: numbers[0] for name, numbers in history.items()}
        if number % shards_each == 0 and len(unseen):
            values |= seen()
            losses.append(values["val_loss"])
            if game.vae_min_gain and stands_still(losses, game.vae_min_gain):
                number = len(parts)
        where = {"epoch": epoch + 1, "part": part + 1, "seconds": round(time.time() - start, 1)}
        record(stage, f"V epoch {epoch + 1}/{game.vae_epochs}", int(model.optimizer.iterations), values, **where)
        if number == len(parts):
            _save(model, stage.path("vae.keras"))  # before the checkpoint that marks the training as finished
        checkpoints.save(model, number)
        if number == len(parts):
            break
    if done == len(parts):
        _save(model, stage.path("vae.keras"))
    progress.close()


def stands_still(losses, least):
    """Whether the last passes have taken less than the share `least` off the held-out losses before them."""
    before, last = losses[:-PATIENCE], losses[-PATIENCE:]
    return len(before) > 0 and min(last) > (1 - least) * min(before)


def _save(model, path):
    """Write V without the optimizer's state, which would triple the file's size."""
    bare = type(model).from_config(model.get_config())
    bare.set_weights(model.get_weights())
    with Atomic(path) as temporary:
        bare.save(temporary)
