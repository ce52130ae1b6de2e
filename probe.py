"""Check a run's world model before C is trained in its dream: runs/GAME/probe/.   python probe.py GAME

reconstructions.png shows frames of held-out episodes, with V's reconstruction below each: M cannot predict what V does not
encode. dreams.png shows dreams of a player that does nothing, one in each row. Where the dream has rewards, blind players play
in dreams and in the real game. If one of them scores much more in dreams than in the game, C will exploit that, however low M's
loss is.

Last come recorded games: the run's held-out ones and those of --games. It measures V's error on all frames and on the last ones
before an end, how many of the ends M predicts, in its last step and in dreams that go on from some steps before, and how well
it predicts rewards and actions. Give it games of agents, because those are the states that C visits.
"""

from world_models.config import UserError
from world_models.job.command import CommandLine, run_script
from world_models.job.machine import cores, load_tensorflow
from world_models.job.rundir import as_trained, settle_precision


def main(argv=None):
    command = CommandLine(__doc__, "dream")
    command.add("--episodes", type=int, default=32, help="real games of each blind player (default: 32)")
    command.add("--threads", type=int, default=cores(), help="TensorFlow's threads (default: all cores)")
    command.add(
        "--games", metavar="RUN_DIR", nargs="+", default=[], help="also measure V and M on the recorded games of these runs"
    )
    command.add("--recorded", type=int, default=40, help="recorded games of each run (default: 40)")
    command.add_world_options()
    command.add_precision_option("arithmetic of M's dreams")
    game, args = command.parse(argv)
    game = as_trained(game, args.run_dir)
    settle_precision(args)
    for name in ("episodes", "recorded"):
        if getattr(args, name) < 1:
            raise UserError(f"--{name} is {getattr(args, name)}: give 1 or more")
    load_tensorflow(args.threads)
    from world_models.dream.probing import probe

    probe(game, args)


if __name__ == "__main__":
    run_script(main)
