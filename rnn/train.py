"""Train M on the encoded episodes: series/series.npz -> rnn/rnn.keras, rnn/initial_z.json.   python -m rnn.train GAME"""

from world_models.job.command import CommandLine, run_script
from world_models.job.machine import cores, load_tensorflow
from world_models.job.rundir import add_start_option, need, settle_precision
from world_models.original.series import made_here


def main(argv=None):
    command = CommandLine("Train M, the recurrent network, on the episodes that rnn.series encoded.", "rnn", "half_new")
    add_start_option(command, "rnn.json")
    command.add_precision_option("arithmetic of the matrix products")
    command.add("--threads", type=int, default=cores(), help="TensorFlow's threads (default: all cores)")
    game, args = command.parse(argv)
    settle_precision(args, "rnn")
    series_path = need(args.run_dir, "series", "series.npz", game.name)
    vae_path = need(args.run_dir, "vae", "vae.keras", game.name) if made_here(series_path) else None
    load_tensorflow(args.threads)
    from world_models.rnn.training import train

    train(game, args, series_path, vae_path)


if __name__ == "__main__":
    run_script(main)
