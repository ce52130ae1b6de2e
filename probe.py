"""Look at a run's world model before anybody learns in its dream: runs/GAME/probe/.   python probe.py GAME

reconstructions.png has moments of recorded episodes that were kept from training, and below each what V makes of it: what V
does not see, M cannot dream of. dreams.png has dreams of one who does nothing, a row each, from their beginning to their end.
Where the dream has rewards, players who see nothing play in dreams and in the real game. A dream in which one of them gets much
more than in the game has a place to hide, and C will find it, whatever M's loss says.

Last come recorded games, the run's own held-out ones and those of --games: how well V sees them, all frames and the last before
an end, and how many of the ends M foresees. Give it games of agents: that is where C goes.
"""

import os

from world_models.config import UserError
from world_models.job.command import CommandLine, run_script
from world_models.job.machine import load_tensorflow
from world_models.job.rundir import settle_precision


def main(argv=None):
    command = CommandLine(__doc__, "dream")
    command.add("--episodes", type=int, default=32, help="real games a player (default: 32)")
    command.add("--threads", type=int, default=os.cpu_count(), help="TensorFlow's threads (default: all cores)")
    command.add(
        "--games", metavar="RUN_DIR", nargs="+", default=[], help="also measure V and M on the recorded games of these runs"
    )
    command.add("--recorded", type=int, default=40, help="recorded games of each run (default: 40)")
    command.add_world_options()
    command.add_precision_option("what M dreams in")
    game, args = command.parse(argv)
    settle_precision(args)
    for name in ("episodes", "recorded"):
        if getattr(args, name) < 1:
            raise UserError(f"--{name} is {getattr(args, name)}: give 1 or more")
    load_tensorflow(args.threads)
    from world_models.dream.probing import probe

    probe(game, args)


if __name__ == "__main__":
    run_script(main)
