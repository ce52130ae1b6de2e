"""Train V on the recorded frames: record/*.npz -> vae/vae.keras.   python -m vae.train GAME"""

from world_models.job.command import CommandLine, run_script
from world_models.job.machine import cores, load_tensorflow
from world_models.job.rundir import add_start_option, settle_precision


def main(argv=None):
    command = CommandLine("Train V, the autoencoder, on the frames that extract.py recorded.", "vae", "mirror", "half_new")
    add_start_option(command, "vae.json")
    command.add("--skip-bad", action="store_true", help="skip files that are not episodes, and print a line for each")
    command.add_precision_option("what the layers compute in")
    command.add("--threads", type=int, default=cores(), help="TensorFlow's threads (default: all cores)")
    game, args = command.parse(argv)
    settle_precision(args, "vae")
    load_tensorflow(args.threads)
    from world_models.vae.training import train

    train(game, args)


if __name__ == "__main__":
    run_script(main)
