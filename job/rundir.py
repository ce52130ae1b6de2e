"""A run's directory. Each stage has a folder with its lock, settings (config.json), log (log.jsonl) and outputs.

runs/GAME/record/  vae/  series/  rnn/  probe/  controller/  evaluate/
"""

import contextlib
import fcntl
import glob
import hashlib
import importlib.metadata
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import time
from dataclasses import fields, replace

from tqdm import tqdm

from world_models.config import Game, UserError, option
from world_models.job.machine import PRECISIONS, check_precision, fast_precision
from world_models.job.reading import REMEDY, cut, misfit, parsed, reading, short

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PACKAGES = ("tensorflow", "tensorflow-probability", "keras", "gymnasium", "box2d-py", "vizdoom", "cma", "numpy", "mpi4py")
# Settings that may differ when a stage is resumed: they say how long it runs, not what it computes.
EXTENDABLE = {"record_episodes", "vae_epochs", "rnn_epochs", "controller_generations"}
# Settings that are not in the config.json of earlier versions, and their values then; None: unknown.
THEN = {
    "mirror": False,
    "half_new": False,
    "rnn_anywhere": False,
    "rnn_dropout": 0.0,
    "dream_death": "cut",
    "dream_dropout": 0.0,
    "vae_channels": 32,
    "vae_min_gain": 0.0,
    "vae_from_mean": False,
    "played_by": None,
    "predict_reward": None,
    "contents": None,
    "actions": None,
}
KINDS = {f.name: f.type for f in fields(Game) if f.metadata}  # of settings
CHOICES = {f.name: f.metadata["choices"] for f in fields(Game) if f.metadata.get("choices")}
OPTIONS = {f.name: f"{option(f)} " for f in fields(Game) if f.metadata}
# Options of scripts that are settings too. All other settings, such as digests of files, are no options.
OPTIONS |= {name: f"--{name} " for name in ("seed", "precision", "look", "preprocess", "begin", "agent", "with", "blind")}
OPTIONS |= {name: f"--{name} " for name in ("explore", "curiosity", "start", "world", "search", "horizon", "cap_time")}
# The command that makes each stage's output, for the message where it is missing.
COMMANDS = {
    "record": "python extract.py {game}",
    "vae": "python -m vae.train {game}",
    "series": "python -m rnn.series {game}",
    "rnn": "python -m rnn.train {game}",
    "controller": "mpirun python train.py {game}",
    "legacy": "python -m original.convert {game} --legacy DIR",
}


class Atomic:
    """`with Atomic(path) as temporary:` write to `temporary`; it replaces `path` only if the block raises nothing.

    It may be a file or a folder. The temporary name has the extension of `path`, because np.savez and Keras depend on it.
    """

    def __init__(self, path):
        self.path = str(path)
        folder, name = os.path.split(self.path)
        self.temporary = os.path.join(folder, f".{os.getpid()}.{name}")

    def __enter__(self):
        return self.temporary

    def __exit__(self, kind, error, traceback):
        try:
            if kind is None:
                os.replace(self.temporary, self.path)
        finally:
            if os.path.isdir(self.temporary):
                shutil.rmtree(self.temporary)
            elif os.path.exists(self.temporary):
                os.remove(self.temporary)


def write_json(path, value, indent=None):
    """Write `value` to `path` atomically."""
    with Atomic(path) as temporary, open(temporary, "w") as file:
        file.write(json.dumps(value, indent=indent) + "\n")  # json.dump takes twice as long for millions of numbers


def read_json(path, form=object, texts=True):
    """The value in the JSON file `path`, of this `form` (reading.misfit), and with texts=False without any text in it.

    Raises UserError where it is anything else or cannot be read.
    """
    if not os.path.exists(path):
        raise UserError(f"{path} does not exist: give the path of a file that does")
    with reading(path, kind="JSON"), open(path) as file:
        text = file.read()
        if not texts and '"' in text:
            raise ValueError("it has text where numbers belong")
        return parsed(text, form)


class Stage:
    """`with Stage(run_dir, "vae", settings, seed) as stage:` opens the stage's folder for writing, and locks it.

    settings: {name: value} of all that decides the outputs. They are written to config.json, with the seed, the command, the
    versions of the packages and the git commit. When the stage is opened again, they are compared, and the file is kept unless
    the stage is to go on for longer. Without `exclusive` they are not, and the folder is not locked: for stages whose outputs
    are independent of each other. log.jsonl gets a row, with command, versions and commit, each time that the stage is run.

    Raises UserError where the folder cannot be written, where another process has locked it, or where its outputs were made
    with other settings.
    """

    def __init__(self, run_dir, name, settings, seed, exclusive=True):
        self.dir = os.path.join(run_dir, name)
        self.settings = {**settings, "seed": seed}
        self._exclusive, self._summary = exclusive, None

    def path(self, *names):
        return os.path.join(self.dir, *names)

    def __enter__(self):
        try:
            os.makedirs(self.dir, exist_ok=True)
            lock = open(self.path(".lock"), "a") if self._exclusive else contextlib.nullcontext()
        except OSError as error:
            raise UserError(f"{self.dir} cannot be written ({error.strerror}): choose another --run-dir") from None
        self._origin = origin()
        with contextlib.ExitStack() as stack:
            stack.enter_context(lock)  # closing the file unlocks it
            if self._exclusive:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError:
                    who = "is in use by another process: wait for it, or choose another --run-dir"
                    raise UserError(f"{self.dir} {who}") from None
                self._clear()
            self._write_config()
            self._unlock = stack.pop_all().close
        self._began = time.time()
        return self

    def _clear(self):
        """Remove what a killed process had begun to write with Atomic. The lock is held, so nobody else is writing here."""
        for path in glob.glob(os.path.join(glob.escape(self.dir), ".[0-9]*.*")):
            shutil.rmtree(path) if os.path.isdir(path) else os.remove(path)

    def __exit__(self, kind=None, *exception):
        if kind is None:
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
            self.log(stage_seconds=round(time.time() - self._began, 1), peak_memory_mib=peak, **self._origin)
        self._unlock()

    def _write_config(self):
        path = self.path("config.json")
        settings = json.loads(json.dumps(self.settings))  # tuples become lists, as they will be when read
        if self._exclusive and os.path.exists(path):
            before = settings_in(self.dir)
            before = {
                name: settings[name] if then is None else then for name, then in THEN.items() if name in settings
            } | before
            for name in sorted(settings.keys() | before.keys()):
                if name not in EXTENDABLE and settings.get(name) != before.get(name):
                    flag = OPTIONS.get(name, f"{name}=")
                    raise UserError(
                        f"{self.dir} was made with {flag}{cut(str(before.get(name)))}, not {cut(str(settings.get(name)))}: "
                        "use the same settings, choose another --run-dir, or remove that folder"
                    )
            if not any(name not in before or settings[name] > before[name] for name in EXTENDABLE & settings.keys()):
                return
        write_json(path, {"settings": settings, **self._origin}, indent=1)

    def log(self, **row):
        """Append a row to log.jsonl; `time` is in seconds since 1970."""
        line = json.dumps({"time": round(time.time(), 2), **row}) + "\n"
        with open(self.path("log.jsonl"), "ab+") as file:
            torn = file.tell() and file.seek(-1, os.SEEK_END) and file.read() != b"\n"  # by a full disk
            file.write((b"\n" if torn else b"") + line.encode())

    def summary(self, step, values):
        """Write scalars {name: value} at `step` for TensorBoard."""
        import tensorflow as tf

        if self._summary is None:
            self._summary = tf.summary.create_file_writer(self.path("tensorboard"))
        with self._summary.as_default(step=step):
            for name, value in values.items():
                tf.summary.scalar(name, value)
        self._summary.flush()


def read_rounds(run_dir):
    """The rows of rounds/rounds.jsonl of a run, one for each finished round of iterate.py; none where there is no such file.

    Raises UserError where it cannot be read.
    """
    numbers = ("real_frames", "dream", "real", "real_low", "real_high", "validation", "hours")
    path = os.path.join(run_dir, "rounds", "rounds.jsonl")
    if not os.path.exists(path):
        return []
    with reading(path), open(path) as file:
        return [parsed(line, {"round": int} | dict.fromkeys(numbers, float)) for line in file]


def read_log(folder, *names):
    """The rows of a stage's log.jsonl that have numbers of these `names`, oldest first; none where there is no such file.

    A line that a full disk cut short is left out.
    """
    rows, path = [], os.path.join(folder, "log.jsonl")
    if not os.path.exists(path):
        return rows
    with reading(path), open(path, errors="replace") as file:
        for line in file:
            with contextlib.suppress(ValueError, RecursionError):
                rows.append(parsed(line, dict.fromkeys(names, float)))
    return rows


def world_keywords(game, args, run_dir, name=None):
    """The keywords of `game`'s real environment: the options given, else those of the run in `run_dir`, else the defaults.

    name: of the search whose C will play (--name).
    """
    before = {}
    for stage in ("vae", "record", search_folder(name)):
        before |= settings_in(os.path.join(run_dir, stage)) if run_dir else {}
    keywords = {name: getattr(args, name) or before.get(name, values[0]) for name, (values, _) in game.options.items()}
    for name, value in keywords.items():
        if value not in game.options[name][0]:
            raise UserError(f"{run_dir} has --{name} {short(value)}, which {game.name} does not have: choose another --run-dir")
    return keywords


def as_trained(game, run_dir):
    """`game`, with what its dreams need to know of how the M of the run in `run_dir` was trained."""
    trained = settings_in(os.path.join(run_dir, "rnn"))
    return replace(game, **{name: trained.get(name, getattr(game, name)) for name in ("predict_reward", "rnn_restart_weight")})


DREAM = ("dream_temperature", "dream_death", "dream_dropout")


def as_learned(game, folder):
    """`game`, with the dream in which the C of the search in `folder` learned."""
    learned = settings_in(folder)
    return replace(game, **{field: learned.get(field, getattr(game, field)) for field in DREAM})


def settle_precision(args, stage=None):
    """Replace "auto" in `args.precision` by the precision with which the run's `stage` was started.

    So a stage can be resumed on another machine. Where there is no such stage, or its precision is unknown, "auto" becomes the
    faster one here. Raises UserError for a precision that is not available here.
    """
    if args.precision == "auto" and stage:
        before = settings_in(os.path.join(args.run_dir, stage)).get("precision")
        args.precision = before if before in PRECISIONS else "auto"
    if args.precision == "auto":
        args.precision = fast_precision()
    else:
        check_precision(args.precision)


def digest(path):
    """SHA-256 of a file, in hex."""
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def settings_in(stage_dir):
    """The settings in a stage's config.json, {} where there is none.

    Raises UserError where it is unreadable, or has a setting that is not of its kind.
    """
    config = os.path.join(stage_dir, "config.json")
    if not os.path.exists(config):
        return {}
    settings = read_json(config, {"settings": dict})["settings"]
    wrong = misfit(settings, {name: KINDS[name] for name in KINDS.keys() & settings.keys()})
    choices = (name for name in CHOICES.keys() & settings.keys() if settings[name] not in CHOICES[name])
    wrong = wrong or next(
        (f"{name} is {short(settings[name])}, not one of {', '.join(CHOICES[name])}" for name in choices), None
    )
    if wrong:
        raise UserError(f"{config} cannot be used ({wrong}): {REMEDY}")
    return settings


def add_start_option(command_line, name):
    """Add --start FILE to a training's command line. `name`: the original's file that it accepts too."""
    command_line.add("--start", metavar="FILE", help=f"start from the weights in this .keras file, or in the original's {name}")


def start_settings(args):
    """{"start": digest of --start's file}, {} without one. Raises UserError where it does not exist."""
    if args.start and not os.path.isfile(args.start):
        raise UserError(f"--start is {args.start}, which is no file: give one that another run has written")
    return {"start": digest(args.start)} if args.start else {}


def add_name_option(command_line):
    """Add --name, which tells apart several searches for a C on the same V and M."""
    command_line.add(
        "--name", help="name of the search, where a run has several; its folder is controller-NAME (default: controller)"
    )


def search_folder(name):
    """The stage of the search `name` (--name). Raises UserError unless it is letters, digits, _ and . only."""
    if name is not None and not re.fullmatch(r"[\w.]+", name):
        raise UserError(f"--name is {name!r}: give a word of letters, digits, _ and .")
    return "controller" if name is None else f"controller-{name}"


def controller_stage(run_dir, name=None):
    """The stage of a run's controller: that of the search `name` (--name), else the evolved one, else the converted one."""
    evolved, imported = (os.path.exists(os.path.join(run_dir, stage, "best.json")) for stage in ("controller", "legacy"))
    return "legacy" if name is None and imported and not evolved else search_folder(name)


def pretrained(name):
    """The folder of the agent of game `name` that comes with this repository, whether there is one or not."""
    return os.path.relpath(os.path.join(HERE, "pretrained", name))


def need(run_dir, stage, file, game):
    """The path of a file that an earlier stage wrote. Raises UserError, with the command to run, where it is missing."""
    path = os.path.join(run_dir, stage, file)
    if not os.path.exists(path):
        stage, _, name = stage.partition("-")
        where = "" if run_dir == os.path.join("runs", game) else f" --run-dir {run_dir}"
        where += f" --name {name}" if name else ""
        raise UserError(f"{path} is missing: run `{COMMANDS[stage].format(game=game)}{where}` first")
    return path


def _version(package):
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def origin():
    """{"command", "versions", "git_commit"}: what makes an output, besides its settings."""
    versions = {name: _version(name) for name in PACKAGES} | {"python": sys.version.split()[0]}
    return {"command": _command(), "versions": versions, "git_commit": _git_commit()}


def _command():
    """sys.argv, with the path of a script inside the repository made relative to the repository's root."""
    script = os.path.relpath(sys.argv[0], HERE)
    return [sys.argv[0] if script.startswith("..") else script, *sys.argv[1:]]


def _git_commit():
    """The commit of the code that runs, with "+" if tracked files have been changed since. None outside a git checkout."""
    try:
        command = ["git", "-C", HERE, "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty=+"]
        answer = subprocess.run(command, capture_output=True, text=True)
    except OSError:
        return None
    return answer.stdout.strip() or None


def told(row):
    """The line that tells a row of numbers and words: "name value name value"."""
    return " ".join(f"{name} {value:.6g}" if isinstance(value, float) else f"{name} {value}" for name, value in row.items())


class Progress:
    """Progress of a long stage on stderr: a bar on a terminal, elsewhere a plain line at most every `every` seconds."""

    def __init__(self, total, what, initial=0, every=15):
        self.total, self.what, self.done, self.every = total, what, initial, every
        self.start = self.last = time.time()
        self.bar = tqdm(total=total, desc=what, initial=initial) if sys.stderr.isatty() else None

    def add(self, count=1, note=""):
        """`count` more are done; `note` is shown after the count."""
        self.done += count
        if self.bar is not None:
            self.bar.set_postfix_str(note, refresh=False)
            self.bar.update(count)
        elif time.time() - self.last >= self.every or self.done >= self.total:
            self.last = time.time()
            seconds = self.last - self.start
            print(f"{self.what} {self.done}/{self.total} {seconds:.0f}s {note}".rstrip(), file=sys.stderr, flush=True)

    def close(self):
        if self.bar is not None:
            self.bar.close()
