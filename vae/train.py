"""Train V on the recorded frames: record/*.npz -> vae/vae.keras.   python -m vae.train GAME

For another look of the world, a V that C and M, trained with a V of their own, can use as it is:

    python extract.py carracing --look v3 --run-dir runs/carracing-v3 --episodes 200
    python -m vae.train carracing --run-dir runs/carracing-v3 --like runs/carracing
"""

import os
import time
from dataclasses import replace

from config import CommandLine, UserError, load_tensorflow, run_script, stage_settings
from rundir import Atomic, Progress, Stage, add_start_option, digest, need, settle_precision, start_settings


def main(argv=None):
    command = CommandLine(__doc__, "vae")
    add_start_option(command, "vae.json")
    command.add(
        "--like", metavar="RUN_DIR", help="find the z that this run's V finds in its own recording of the same episodes"
    )
    command.add("--skip-bad", action="store_true", help="leave out files that are no episodes, with a line for each")
    command.add_precision_option("what the layers compute in")
    command.add("--threads", type=int, default=os.cpu_count(), help="TensorFlow's threads (default: all cores)")
    game, args = command.parse(argv)
    settle_precision(args, "vae")
    if args.like and (args.start or args.skip_bad):
        raise UserError("--like begins with that run's V and needs whole pairs of episodes: leave out --start and --skip-bad")
    load_tensorflow(args.threads)

    from env.record import split
    from vae.frames import fingerprint, recorded, shards
    from vae.training import Checkpoints

    paths, lengths = recorded(args.run_dir, game, args.skip_bad)
    teacher, sides = None, [dict(zip(paths, paths, strict=True))]  # where an episode's frames are
    if args.like:
        from vae.like import partners
        from vae.vae import load_vae

        teacher_path = need(args.like, "vae", "vae.keras", game.name)
        teacher = load_vae(teacher_path)
        sides.append(partners(args.like, game, paths))
        game = replace(game, z_size=teacher.z_size)
    length = dict(zip(paths, lengths, strict=True))
    kept, held_out = split(paths)
    frames = sum(length[path] for path in kept)
    if frames < game.vae_batch_size:
        raise UserError(
            f"{args.run_dir}/record has {frames} frames to train on, fewer than a batch of {game.vae_batch_size}: "
            f"record more with `python extract.py {game.name}`, or lower --batch-size"
        )
    settings = {**stage_settings(game, "vae"), "episodes": fingerprint(paths, lengths), "precision": args.precision}
    settings |= {"like": digest(teacher_path)} if args.like else start_settings(args)
    checkpoints = Checkpoints(os.path.join(args.run_dir, "vae"))
    parts = len(shards(len(kept), args.seed, 0))  # in each epoch
    finished = checkpoints.finished("vae.keras", game.vae_epochs, parts)
    with Stage(args.run_dir, "vae", settings, args.seed) as stage:
        if finished:
            print(f"{stage.path('vae.keras')} is finished: {checkpoints.done // parts} epochs")
            return
        _train(game, args, stage, checkpoints, kept, [length[path] for path in kept], held_out, sides, teacher)


def _train(game, args, stage, checkpoints, paths, lengths, held_out, sides, teacher):
    """Train from the last checkpoint on. `paths` and `lengths` are of the training episodes, `held_out` are paths.

    teacher: the V of --like, or None. sides: one {path: file} of the frames that are seen, with a teacher another of those that
    it sees.
    """
    import keras
    import numpy as np
    import tensorflow as tf

    from vae.frames import FrameStream, held_out_frames, shards
    from vae.like import LikeV
    from vae.training import Watch, record
    from vae.vae import ConvVAE, begin_with

    keras.utils.set_random_seed(args.seed)  # of the first weights
    if teacher:
        model = LikeV(teacher, args.precision)
    else:
        model = ConvVAE(game.z_size, game.vae_kl_tolerance, args.seed, args.precision)
    if args.start:
        begin_with(model, args.start)
    # XLA would take twice as long here: its convolutions on a CPU are not oneDNN's.
    model.compile(optimizer=keras.optimizers.Adam(game.vae_learning_rate), jit_compile=False)
    done = checkpoints.restore(model)
    unseen = [
        held_out_frames([files[path] for path in held_out], game.action_size, game.vae_batch_size, args.skip_bad)
        for files in sides
    ]

    parts = [(epoch, part) for epoch in range(game.vae_epochs) for part in enumerate(shards(len(paths), args.seed, epoch))]
    updates = [sum(lengths[i] for i in chosen) // game.vae_batch_size for _, (_, chosen) in parts]
    progress = Progress(sum(updates), "V updates", initial=sum(updates[:done]))
    for number, (epoch, (part, chosen)) in enumerate(parts[done:], done + 1):
        start = time.time()
        steps, streams = updates[number - 1], []
        for files in sides:  # with the same chance, so that both give the same moments in the same order
            episodes, rng = [files[paths[i]] for i in chosen], np.random.default_rng([args.seed, epoch, part])
            streams.append(FrameStream(episodes, game.action_size, game.vae_batch_size, steps, rng, args.skip_bad))
        batches = tf.data.Dataset.zip(tuple(stream.dataset() for stream in streams))
        try:
            # Without the number of steps Keras would begin one too many, and count it.
            watch = [Watch(progress)]
            history = model.fit(batches, steps_per_epoch=steps, verbose=0, shuffle=False, callbacks=watch).history
        finally:
            for stream in streams:
                if stream.error:
                    raise stream.error
        values = {name: numbers[0] for name, numbers in history.items()}
        if number % (len(parts) // game.vae_epochs) == 0 and len(unseen[0]):
            seen = model.evaluate(*unseen, batch_size=game.vae_batch_size, verbose=0, return_dict=True)
            values |= {f"val_{name}": value for name, value in seen.items()}
        where = {"epoch": epoch + 1, "part": part + 1, "seconds": round(time.time() - start, 1)}
        record(stage, f"V epoch {epoch + 1}/{game.vae_epochs}", int(model.optimizer.iterations), values, **where)
        if number == len(parts):
            _save(model.vae if teacher else model, stage.path("vae.keras"))  # before the checkpoint that says that all is done
        checkpoints.save(model, number)
    if done == len(parts):
        _save(model.vae if teacher else model, stage.path("vae.keras"))
    progress.close()


def _save(model, path):
    """Write V without the optimizer's state, which would triple the file."""
    bare = type(model).from_config(model.get_config())
    bare.set_weights(model.get_weights())
    with Atomic(path) as temporary:
        bare.save(temporary)


if __name__ == "__main__":
    run_script(main)
