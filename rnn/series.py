"""Encode all recorded frames by V: record/*.npz + vae/vae.keras -> series/series.npz.   python -m rnn.series GAME

series.npz has, flat over the frames of all episodes, mu (F,Z), logvar (F,Z) and action (F,A), float16 as in the original, and
reward (F,) float32, NaN where a recording has none; length (E,) int32, the frames of each episode; ended (E,) bool, whether the
game ended it; episode (E,), their file names; and vae, the digest of the V that made it. With --mirror each episode is followed
by its mirror image, whose name says so.
"""

import os

from world_models.config import UserError
from world_models.job.command import CommandLine, run_script
from world_models.job.machine import load_tensorflow
from world_models.job.rundir import need, settle_precision
from world_models.original.series import made_here


def main(argv=None):
    command = CommandLine("Encode all recorded frames by V, for the training of M.", "mirror")
    command.add("--skip-bad", action="store_true", help="leave out files that are no episodes, with a line for each")
    command.add(
        "--known",
        metavar="RUN_DIR",
        help="take over what this run's series has of the same episodes by the same V",
    )
    command.add("--threads", type=int, default=os.cpu_count(), help="TensorFlow's threads (default: all cores)")
    command.add_precision_option("what V's layers compute in")
    game, args = command.parse(argv)
    settle_precision(args, "series")
    series_path = os.path.join(args.run_dir, "series", "series.npz")
    if os.path.exists(series_path) and not made_here(series_path):
        raise UserError(
            f"{series_path} was not made by this command: `python -m rnn.train {game.name}` reads it as it is; "
            "to encode the recorded frames anew, move it away"
        )
    vae_path = need(args.run_dir, "vae", "vae.keras", game.name)
    load_tensorflow(args.threads)
    from world_models.rnn.encoding import encode

    encode(game, args, vae_path, series_path)


if __name__ == "__main__":
    run_script(main)
