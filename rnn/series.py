"""Encode all recorded frames with V: record/*.npz + vae/vae.keras -> series/series.npz.   python -m rnn.series GAME

series.npz has these arrays, with the F frames of all E episodes one after another:

    mu (F,Z), logvar (F,Z), action (F,A)   float16, as in the original
    reward (F,)                            float32, NaN where a recording has none
    length (E,)                            int32, the number of frames of each episode
    ended (E,)                             bool, whether the game ended the episode
    episode (E,)                           the episodes' file names
    vae                                    the digest of the V that made it

With --mirror each episode is followed by its mirror image, whose name has the prefix env.record.MIRRORED.
"""

import os

from world_models.config import UserError
from world_models.job.command import CommandLine, run_script
from world_models.job.machine import cores, load_tensorflow
from world_models.job.rundir import need, settle_precision
from world_models.original.series import made_here


def main(argv=None):
    command = CommandLine("Encode all recorded frames with V, for the training of M.", "mirror")
    command.add("--skip-bad", action="store_true", help="skip files that are not valid episodes, and print a line for each")
    command.add(
        "--known",
        metavar="RUN_DIR",
        help="copy from this run's series the episodes that the same V has already encoded",
    )
    command.add("--threads", type=int, default=cores(), help="TensorFlow's threads (default: all cores)")
    command.add_precision_option("arithmetic of V's layers")
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
