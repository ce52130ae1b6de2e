"""The command line of a script: what all scripts have, and an option for each field of `Game` that belongs to its stage."""

import argparse
import os
import sys
from dataclasses import fields, replace

from config import GAMES, SCALES, Game, UserError, scaled
from job.machine import PRECISIONS


def _option(f):
    """The option of the field `f`, such as --sigma-init."""
    return "--" + (f.metadata["option"] or f.name.removeprefix(f.metadata["stage"] + "_").replace("_", "-"))


class Parser(argparse.ArgumentParser):
    def error(self, message):  # argparse would print its usage before the sentence
        raise UserError(f"{message} (--help lists the options)")


class CommandLine:
    """A script's options: those that all scripts have, and one for each field of `Game` that belongs to `stages`.

    `add` is argparse's `add_argument`. `parse(argv)` returns (game, args): the Game at its scale with the options that were
    given put in, and the argparse namespace, in which `run_dir` is never None.

    legacy_games: {old name: (game, world)}, names that the original had; `args.legacy_world` is then the world, else None.
    """

    def __init__(self, description, *stages, legacy_games=None):
        self.parser = Parser(description=description, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter)
        self.add = self.parser.add_argument
        self.legacy_games = legacy_games or {}
        self.add("game", nargs="?", default="carracing", help=f"{' or '.join(GAMES)} (default: carracing)")
        self.add("--scale", default="paper", help=f"how much of everything: {', '.join(SCALES)} (default: paper)")
        self.add("--run-dir", help="where the stages of a run are kept (default: runs/GAME)")
        self.add("--seed", type=int, default=0, help="seed of all chance in this stage (default: 0)")
        self.stage_fields = [f for f in fields(Game) if f.metadata.get("stage") in stages]
        for f in self.stage_fields:
            flag = _option(f)
            values = " / ".join(dict.fromkeys(str(getattr(game, f.name)) for game in GAMES.values()))
            kind = {"action": argparse.BooleanOptionalAction} if f.type is bool else {"type": f.type}
            self.add(flag, *self._aliases(flag), dest=f.name, help=f"{f.metadata['help']} (published: {values})", **kind)

    def add_world_options(self):
        """Options for how the real world is seen; `job.rundir.world_keywords` makes the environment's keywords of them."""
        default = "(default: as recorded, else"
        self.add(
            "--look",
            choices=("v0", "v3", "gymnasium"),
            help=f"CarRacing as published, as in Gymnasium's v3, or that itself, unmodified and slow {default} v0)",
        )
        self.add(
            "--preprocess",
            choices=("paper", "legacy"),
            help=f"frames as the article says, or as the authors' code made them, for their weights {default} paper)",
        )

    def add_precision_option(self, what):
        """--precision of `what`; `job.rundir.settle_precision` makes "float32" or "bfloat16" of "auto"."""
        self.add(
            "--precision",
            choices=("auto", *PRECISIONS),
            default="auto",
            help=f"{what}: float32, as published; bfloat16; auto: as it was begun, or else the faster here (default)",
        )

    @staticmethod
    def _aliases(flag):
        """The name with underscores, as the original's options have it, where it differs."""
        underscored = "--" + flag[2:].replace("-", "_")
        return [underscored] if underscored != flag else []

    def parse(self, argv=None):
        args = self.parser.parse_args(argv)
        args.game, args.legacy_world = self.legacy_games.get(args.game, (args.game, None))
        game = scaled(args.game, args.scale)
        given = {f.name: getattr(args, f.name) for f in self.stage_fields if getattr(args, f.name) is not None}
        for f in self.stage_fields:
            _check(f, given.get(f.name))
        if args.seed < 0:
            raise UserError(f"--seed is {args.seed}: give a number of 0 or more")
        args.run_dir = args.run_dir or os.path.join("runs", args.game + ("-legacy" if getattr(args, "legacy", None) else ""))
        return replace(game, **given), args


_MAY_BE_ZERO = {"record_min_frames", "vae_kl_tolerance"}
_CHOICES = {
    "controller_mode": ("zh", "zch", "z", "z_hidden"),
    "controller_seeds": ("pairs", "one", "own"),
    "controller_step_size": ("csa", "tpa"),
}


def _check(f, value):
    if value is None or f.type is bool:
        return
    if f.type is str:
        if value not in _CHOICES[f.name]:
            raise UserError(f"{_option(f)} is {value!r}: choose one of {', '.join(_CHOICES[f.name])}")
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
