"""The command line of a script: what all scripts have, and an option for each field of `Game` that belongs to its stage."""

import argparse
import os
import sys
from dataclasses import fields, replace

from world_models import config
from world_models.config import SCALES, Game, UserError, scaled
from world_models.job.machine import PRECISIONS


def _option(f):
    """The option of the field `f`, such as --sigma-init."""
    return "--" + (f.metadata["option"] or f.name.removeprefix(f.metadata["stage"] + "_").replace("_", "-"))


def as_options(game, *stages):
    """The command line that gives the scripts of `stages` all their settings as `game` has them."""
    words = []
    for f in fields(Game):
        if f.metadata.get("stage") in stages:
            value, option = getattr(game, f.name), _option(f)
            words += [option if value else "--no-" + option[2:]] if f.type is bool else [option, str(value)]
    return words


class Parser(argparse.ArgumentParser):
    def error(self, message):  # argparse would print its usage before the sentence
        raise UserError(f"{message} (--help lists the options)")


class CommandLine:
    """A script's options: those that all scripts have, and one for each field of `Game` that belongs to `stages`.

    `add` is argparse's `add_argument`. `parse(argv)` returns (game, args): the Game at its scale with the options that were
    given put in, and the argparse namespace, in which `run_dir` is never None.

    original_names: also take the names that games have in the original; `args.original_world` is then the world, else None.
    rounds: the game is as `Game.round` has it, and options have their fields' whole names, such as --rnn-epochs.
    """

    def __init__(self, description, *stages, original_names=False, rounds=False):
        self.parser = Parser(description=description, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter)
        self.add = self.parser.add_argument
        self.originals, self.rounds = {}, rounds
        for game in config.GAMES.values():
            if original_names and game.original:
                self.originals |= {name: (game.name, world) for name, world in game.original.worlds.items()}
        self.world_options = {}  # {name: every game's values}
        first = next(iter(config.GAMES))
        self.add("game", nargs="?", default=first, help=f"{', '.join(config.GAMES)} (default: {first})")
        self.add("--scale", default="paper", help=f"how much of everything: {', '.join(SCALES)} (default: paper)")
        self.add("--run-dir", help="where the stages of a run are kept (default: runs/GAME)")
        self.add("--seed", type=int, default=0, help="random seed of this stage (default: 0)")
        self.stage_fields = [f for f in fields(Game) if f.metadata.get("stage") in stages]
        for f in self.stage_fields:
            flag = "--" + f.name.replace("_", "-") if rounds else _option(f)
            values = " / ".join(dict.fromkeys(str(getattr(game, f.name)) for game in config.GAMES.values()))
            kind = {"action": argparse.BooleanOptionalAction} if f.type is bool else {"type": f.type}
            self.add(flag, *self._aliases(flag), dest=f.name, help=f"{f.metadata['help']} (published: {values})", **kind)

    def add_world_options(self):
        """Options for how the real world is seen; `job.rundir.world_keywords` makes the environment's keywords of them."""
        for game in config.GAMES.values():
            for name, (values, _) in game.options.items():
                self.world_options.setdefault(name, []).extend(values)
        for name, values in self.world_options.items():
            texts = dict.fromkeys(game.options[name][1] for game in config.GAMES.values() if name in game.options)
            text = f"{'; '.join(texts)} (default: as recorded, else {values[0]})"
            self.add(f"--{name}", choices=tuple(dict.fromkeys(values)), help=text)

    def add_precision_option(self, what):
        """--precision of `what`; `job.rundir.settle_precision` makes "float32" or "bfloat16" of "auto"."""
        self.add(
            "--precision",
            choices=("auto", *PRECISIONS),
            default="auto",
            help=f"{what}: float32, as published; bfloat16; auto (default): as before where it is resumed, else the faster",
        )

    @staticmethod
    def _aliases(flag):
        """The name with underscores, as the original's options have it, where it differs."""
        underscored = "--" + flag[2:].replace("-", "_")
        return [underscored] if underscored != flag else []

    def parse(self, argv=None):
        args = self.parser.parse_args(argv)
        args.game, args.original_world = self.originals.get(args.game, (args.game, None))
        game = scaled(args.game, args.scale)
        if self.rounds:
            game = replace(game, **game.round)
        given = {f.name: getattr(args, f.name) for f in self.stage_fields if getattr(args, f.name) is not None}
        for f in self.stage_fields:
            _check(f, given.get(f.name))
        for name in self.world_options:
            value, (values, _) = getattr(args, name), game.options.get(name, ((), ""))
            if value is not None and value not in values:
                raise UserError(f"--{name} is {value}, which {game.name} does not have: leave it out")
        if args.seed < 0:
            raise UserError(f"--seed is {args.seed}: give a number of 0 or more")
        args.run_dir = args.run_dir or os.path.join("runs", args.game + ("-legacy" if getattr(args, "legacy", None) else ""))
        return replace(game, **given), args


_MAY_BE_ZERO = {"record_min_frames", "vae_kl_tolerance", "vae_min_gain"}


def _check(f, value):
    if value is None or f.type is bool:
        return
    if f.type is str:
        if value not in f.metadata["choices"]:
            raise UserError(f"{_option(f)} is {value!r}: choose one of {', '.join(f.metadata['choices'])}")
    elif not (0 <= value < float("inf")) or (value == 0 and f.name not in _MAY_BE_ZERO):
        raise UserError(f"{_option(f)} is {value}: give a number above 0")


def run_script(main):
    """Call `main()`; a UserError becomes its sentence on stderr and exit status 2."""
    try:
        main()
    except UserError as error:
        print(f"{os.path.basename(sys.argv[0])}: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
