"""The command line of a script: the options of all scripts, and one for each field of `Game` that belongs to its stage."""

import argparse
import contextlib
import errno
import os
import re
import signal
import sys
import threading
from dataclasses import fields, replace

import world_models
from world_models import config
from world_models.config import SCALES, Game, UserError, option, scaled
from world_models.job.machine import PRECISIONS


def module_environment():
    """The environment for `python -m world_models...` as a process of its own: it finds this package in any folder."""
    folder = os.path.dirname(os.path.dirname(world_models.__file__))
    return {**os.environ, "PYTHONPATH": os.pathsep.join([folder, *filter(None, [os.environ.get("PYTHONPATH")])])}


def as_options(game, *stages):
    """The options that set all fields of `stages` to their values in `game`, as words of a command line."""
    words = []
    for f in fields(Game):
        if f.metadata.get("stage") in stages:
            value, flag = getattr(game, f.name), option(f)
            words += [flag if value else "--no-" + flag[2:]] if f.type is bool else [flag, str(value)]
    return words


class Parser(argparse.ArgumentParser):
    def error(self, message):  # argparse itself would print the usage before the message
        raise UserError(f"{message} (--help lists the options)")


class CommandLine:
    """A script's options: those that all scripts have, and one for each field of `Game` that belongs to `stages`.

    `add` is argparse's `add_argument`. `parse(argv)` returns (game, args). game is the Game at its scale, changed by the
    options that were given. args is the argparse namespace, in which `run_dir` is never None.

    original_names: also accept the original's names for games. `args.original_world` is then the world that such a name means,
    "real" or "dream"; it is None for our names.
    rounds: the Game has the values of `Game.round`, and options have the whole names of their fields, such as --rnn-epochs.
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
        self.add("--scale", default="paper", help=f"amount of data and training: {', '.join(SCALES)} (default: paper)")
        self.add("--run-dir", help="folder of the run (default: runs/GAME)")
        self.add("--seed", type=int, default=0, help="random seed of this stage (default: 0)")
        self.stage_fields = [f for f in fields(Game) if f.metadata.get("stage") in stages]
        for f in self.stage_fields:
            flag = self._flag(f)
            values = " / ".join(dict.fromkeys(str(getattr(game, f.name)) for game in config.GAMES.values()))
            kind = {"action": argparse.BooleanOptionalAction} if f.type is bool else {"type": f.type}
            self.add(flag, *self._aliases(flag), dest=f.name, help=f"{f.metadata['help']} (published: {values})", **kind)

    def _flag(self, f):
        return "--" + f.name.replace("_", "-") if self.rounds else option(f)

    def add_world_options(self):
        """The games' `options` of the real world. `job.rundir.world_keywords` turns them into keywords of the environment."""
        for game in config.GAMES.values():
            for name, (values, _) in game.options.items():
                self.world_options.setdefault(name, []).extend(values)
        for name, values in self.world_options.items():
            texts = dict.fromkeys(game.options[name][1] for game in config.GAMES.values() if name in game.options)
            text = f"{'; '.join(texts)} (default: as recorded, else {values[0]})"
            self.add(f"--{name}", choices=tuple(dict.fromkeys(values)), help=text)

    def add_precision_option(self, what):
        """Add --precision, that of `what`. `job.rundir.settle_precision` replaces "auto" by "float32" or "bfloat16"."""
        self.add(
            "--precision",
            choices=("auto", *PRECISIONS),
            default="auto",
            help=f"{what}: float32, as published; bfloat16; auto (default): that of the stage being resumed, else the "
            "faster one here",
        )

    @staticmethod
    def _aliases(flag):
        """[the name with underscores, as in the original's options], or [] where it is the same."""
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
            _check(f, self._flag(f), given.get(f.name))
        for name in self.world_options:
            value, (values, _) = getattr(args, name), game.options.get(name, ((), ""))
            if value is not None and value not in values:
                raise UserError(f"--{name} is {value}, which {game.name} does not have: leave it out")
        if not 0 <= args.seed < 2**32:  # NumPy's and Keras's limit
            raise UserError(f"--seed is {args.seed}: give a number from 0 to {2**32 - 1}")
        if getattr(args, "threads", 1) < 1:
            raise UserError(f"--threads is {args.threads}: give 1 or more")
        args.run_dir = args.run_dir or os.path.join("runs", args.game + ("-legacy" if getattr(args, "legacy", None) else ""))
        return replace(game, **given), args


_MAY_BE_ZERO = {"record_min_frames", "vae_kl_tolerance", "vae_min_gain", "rnn_dropout", "dream_dropout"}


def _check(f, flag, value):
    if value is None or f.type is bool:
        return
    if f.type is str:
        if value not in f.metadata["choices"]:
            raise UserError(f"{flag} is {value!r}: choose one of {', '.join(f.metadata['choices'])}")
    elif not (0 <= value < float("inf")) or (value == 0 and f.name not in _MAY_BE_ZERO):
        raise UserError(f"{flag} is {value}: give a number {'of 0 or more' if f.name in _MAY_BE_ZERO else 'above 0'}")


_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NOT_ALLOWED = {errno.EROFS, errno.EACCES, errno.EPERM}


def explained(error):
    """The UserError that says what a full or read-only disk did, for the OSError that it caused. None for another OSError."""
    where = re.sub(r"/\.\d+\.([^/]*)$", r"/\1", str(error.filename)) if error.filename else "a file"  # as Atomic will call it
    if error.errno in _NO_ROOM:
        return UserError(f"{where} cannot be written ({error.strerror}): make room, and run the same command again")
    if error.errno in _NOT_ALLOWED:
        return UserError(f"{where} cannot be used ({error.strerror}): get access to it, or choose another --run-dir")
    return None


class Stopped(BaseException):
    """A signal has asked this process to end."""

    def __init__(self, number):
        super().__init__(f"stopped by {signal.Signals(number).name}: run the same command again to go on")
        self.status = 128 + number


def heed_signals():
    """From now on the first SIGTERM, SIGHUP or SIGINT raises Stopped in the main thread, so that all is ended in order."""

    def raise_stopped(number, frame):
        global _stopped_by
        _handle_signals(signal.SIG_IGN)  # a second one would interrupt the tidying
        _stopped_by = number
        raise Stopped(number)

    _handle_signals(raise_stopped)


_stopped_by = None  # the number of the signal that has raised Stopped


@contextlib.contextmanager
def as_stopped():
    """Whatever a Stopped has become within is a Stopped again: where C code imports a module it may become an ImportError."""
    try:
        yield
    except Exception:
        if _stopped_by is None:
            raise
        raise Stopped(_stopped_by) from None


def die_of_signals():
    """From now on a SIGTERM, SIGHUP or SIGINT ends this process at once."""
    _handle_signals(signal.SIG_DFL)


def _handle_signals(handler):
    """One that is ignored already, as SIGHUP is under nohup, stays so."""
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, handler)


def run_script(main, prepare=heed_signals):
    """Call `main()`. A UserError is printed to stderr as its message alone; the exit status is then 2. See also `explained`.

    After a signal that asks it to end the exit status is 128 + its number. prepare: what is called first, for the signals.
    """
    prepare()
    try:
        with as_stopped():
            main()
    except UserError as error:
        tell(error)
        sys.exit(2)
    except OSError as error:
        if explained(error) is None:
            raise
        tell(explained(error))
        sys.exit(2)
    except Stopped as stopped:
        tell(stopped)
        sys.exit(stopped.status)
    finally:
        die_of_signals()  # while Python ends, nobody would catch a Stopped


def tell(error):
    """Print the message of a UserError or Stopped to stderr, with the script's name before it."""
    print(f"{os.path.basename(sys.argv[0])}: {error}", file=sys.stderr, flush=True)
