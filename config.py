"""The two games, their published hyperparameters, and the command line made from them.

`GAMES` holds the published values (`--scale paper`); `SCALES` says what the smaller scales change. A field whose metadata
names a stage is an option of that stage's script: `vae_epochs` is `python -m vae.train --epochs`.

Sources: Ha & Schmidhuber, "World Models" (2018), https://worldmodels.github.io, and the authors' code,
https://github.com/hardmaru/WorldModelsExperiments. Where they differ, the article is the default and the comment has the other.
"""

import argparse
import ctypes
import os
import sys
from dataclasses import dataclass, field, fields, replace

import threadpoolctl


class UserError(Exception):
    """Bad input, told in one sentence: what is wrong, and what makes it right. Scripts print it and exit with status 2."""


def _setting(stage, help, default, option=None):
    """A field that is an option of `stage`'s script, by default called as the field without "STAGE_" before it."""
    return field(default=default, metadata={"stage": stage, "help": help, "option": option})


def _option(f):
    """The option of the field `f`, such as --sigma-init."""
    return "--" + (f.metadata["option"] or f.name.removeprefix(f.metadata["stage"] + "_").replace("_", "-"))


@dataclass(frozen=True, kw_only=True)
class Game:
    """A game and everything that the procedure needs to know of it. Frozen: `dataclasses.replace` makes a changed copy."""

    # The worlds. Actions are what C puts out and M sees; `action_maps` turn C's tanh outputs into them, one map for each:
    # "signed" leaves (-1, 1), "halved" is (a + 1) / 2, "clipped" is clip(a, 0, 1).
    name: str
    real_id: str
    dream_id: str
    train_world: str  # where C is evolved: "real" or "dream"
    action_size: int
    action_maps: tuple
    max_steps: int  # env steps after which an episode of the real world is over
    frames_per_second: int
    predict_restart: bool  # M predicts death, and is told where an episode begins
    dream_reward: float  # for each step of a dream: M predicts no reward, so only survival can earn
    whole_episodes: bool  # M trains on whole episodes from the zero state, not on streams that run through all episodes
    controller_bias: bool  # the authors' Doom controller has none

    # extract.py
    record_episodes: int = _setting("record", "episodes to record", 10_000)
    record_max_steps: int = _setting("record", "frames after which an episode is cut", 1000)
    record_min_frames: int = _setting("record", "an episode of this many frames or fewer is played again with new chance", 0)
    record_hold: int = _setting("record", "frames that Doom's random policy keeps an action at most", 10)
    record_full: bool = _setting("record", "go on after the game says it is over, to the last step", False)

    # V. The authors' code runs 10 epochs, the article says 1.
    z_size: int = _setting("vae", "numbers in a latent vector z", 32)
    vae_epochs: int = _setting("vae", "passes over all recorded frames", 1)
    vae_batch_size: int = _setting("vae", "frames in a batch", 100)
    vae_learning_rate: float = _setting("vae", "Adam's step size", 1e-4)
    vae_kl_tolerance: float = _setting("vae", "nats for each latent dimension that the KL term leaves free", 0.5)

    # M. The authors' code runs 40 epochs for the car and 400 for Doom, the article says 20.
    rnn_size: int = _setting("rnn", "LSTM units", 256, option="rnn-size")
    num_mixture: int = _setting("rnn", "Gaussians for each latent dimension", 5)
    rnn_epochs: int = _setting("rnn", "passes over all episodes", 20)
    rnn_batch_size: int = _setting("rnn", "sequences in a batch", 100)
    rnn_seq_len: int = _setting("rnn", "transitions in a sequence", 999)
    rnn_learning_rate: float = _setting("rnn", "Adam's first step size", 1e-3)
    rnn_decay: float = _setting("rnn", "factor on the step size after each update", 1.0)
    rnn_grad_clip: float = _setting("rnn", "each gradient value is clipped to +- this", 1.0)
    rnn_restart_weight: float = _setting("rnn", "weight of the restart loss where a restart happens", 10.0)

    # The dream. The authors' code has 1.25 as Doom's default temperature, the article's best agent learned at 1.15.
    dream_temperature: float = _setting("dream", "1 is M as trained; more makes the dream less certain", 1.0)
    dream_max_steps: int = _setting("dream", "steps after which a dream is cut", 1000, option="dream-max-steps")

    # C and CMA-ES.
    controller_mode: str = _setting("controller", "what C sees: zh, zch, z, or z_hidden (z through 40 tanh units)", "zh")
    controller_population: int = _setting("controller", "candidates in a generation", 64)
    controller_episodes: int = _setting("controller", "episodes that a candidate's fitness is the mean of", 16)
    controller_max_steps: int = _setting("controller", "real steps after which a training episode is cut", 1000)
    controller_sigma_init: float = _setting("controller", "first standard deviation of the search, from zero", 0.1)
    controller_step_size: str = _setting("controller", "how that adapts: csa, by the mean's path, or tpa, by two points", "csa")
    controller_generations: int = _setting("controller", "generations to evolve", 1800)
    controller_eval_steps: int = _setting("controller", "generations between evaluations of the CMA mean", 25)
    controller_eval_episodes: int = _setting("controller", "episodes of such an evaluation", 1024)
    controller_seeds: str = _setting(
        "controller",
        "whose episodes are alike: 'pairs' (as published, 32 seeds for 64 candidates), 'one' (the same for all), 'own'",
        "pairs",
    )


GAMES = {
    game.name: game
    for game in (
        Game(
            name="carracing",
            real_id="WorldModels/CarRacing-v0",
            dream_id="WorldModels/CarRacingDream-v0",
            train_world="real",
            action_size=3,
            action_maps=("signed", "halved", "clipped"),  # steering, gas, brake
            max_steps=1000,
            frames_per_second=50,
            predict_restart=False,
            dream_reward=0.0,
            whole_episodes=True,
            controller_bias=True,
            record_full=True,  # the original ignores `done` here: every recorded episode has 1000 frames
            dream_temperature=0.7,
            dream_max_steps=1200,
        ),
        Game(
            name="doom",
            real_id="WorldModels/DoomTakeCover-v0",
            dream_id="WorldModels/DoomRNN-v0",
            train_world="dream",
            action_size=1,
            action_maps=("signed",),  # left below -1/3, right above 1/3
            max_steps=2100,
            frames_per_second=35,
            predict_restart=True,
            dream_reward=1.0,
            whole_episodes=False,
            controller_bias=False,
            record_max_steps=2100,
            record_min_frames=100,
            z_size=64,
            rnn_size=512,
            rnn_seq_len=500,
            rnn_decay=0.99999,
            dream_temperature=1.15,
            dream_max_steps=2100,
            controller_mode="zch",
            controller_max_steps=2100,
        ),
    )
}

# What a scale changes. "quick" is to fit `make run` into 15 minutes on 2 cores; "smoke" is for tests, and learns nothing.
SCALES = {
    "paper": {"carracing": {}, "doom": {}},
    "quick": {
        "carracing": dict(
            record_episodes=40,
            # Smaller batches and larger steps learn more from a frame, and would learn less from ten million.
            vae_batch_size=32,
            vae_learning_rate=1e-3,
            rnn_batch_size=8,
            rnn_epochs=10,
            # One track a generation, shared by all candidates, and far enough round it to need more than the first bends. As
            # many steps in four episodes of 200 teach less than half as much, in two of 200 for more generations little more.
            controller_population=32,
            controller_episodes=1,
            controller_max_steps=400,
            controller_seeds="one",
            controller_step_size="tpa",  # lengthens the step within ten generations; csa first shortens it
            controller_generations=24,
            controller_eval_steps=12,
            controller_eval_episodes=16,
        ),
        "doom": dict(
            record_episodes=360,
            # Held for 10 frames at most, random actions keep the player in the middle of the room in so few episodes. Where M
            # has not seen that one dies at the walls, C learns to hide there: with 30, 932 steps in dreams and 176 in the game.
            record_hold=100,
            vae_batch_size=32,
            vae_learning_rate=3e-4,  # at 1e-3 Doom's V sees nothing but the mean picture
            rnn_batch_size=16,
            rnn_seq_len=64,  # short sequences make more updates
            rnn_epochs=18,  # after 8 one wall was still safe, and an agent that hid there lived 183 steps in the game
            controller_population=32,
            controller_episodes=8,
            controller_step_size="tpa",
            controller_generations=10,
            controller_eval_steps=5,
            controller_eval_episodes=64,
        ),
    },
    "smoke": {
        "carracing": dict(
            record_episodes=4,
            record_max_steps=60,
            vae_batch_size=20,
            rnn_batch_size=2,
            rnn_seq_len=59,
            rnn_epochs=2,
            dream_max_steps=80,
            controller_population=4,
            controller_episodes=2,
            controller_max_steps=30,
            controller_generations=2,
            controller_eval_steps=2,
            controller_eval_episodes=4,
        ),
        "doom": dict(
            record_episodes=4,
            record_max_steps=150,
            vae_batch_size=20,
            rnn_batch_size=2,
            rnn_seq_len=50,
            rnn_epochs=2,
            dream_max_steps=40,
            controller_population=4,
            controller_episodes=2,
            controller_max_steps=30,
            controller_generations=2,
            controller_eval_steps=2,
            controller_eval_episodes=4,
        ),
    },
}


def scaled(name, scale="paper"):
    """The Game `name` at `scale`. Raises UserError for a name or a scale that does not exist."""
    if name not in GAMES:
        raise UserError(f"there is no game {name!r}: choose one of {', '.join(GAMES)}")
    if scale not in SCALES:
        raise UserError(f"there is no scale {scale!r}: choose one of {', '.join(SCALES)}")
    return replace(GAMES[name], **SCALES[scale][name])


def stage_settings(game, *stages):
    """{field name: value} of the fields of `game` that are options of `stages`."""
    return {f.name: getattr(game, f.name) for f in fields(Game) if f.metadata.get("stage") in stages}


class _Parser(argparse.ArgumentParser):
    def error(self, message):  # argparse would print its usage before the sentence
        raise UserError(f"{message} (--help lists the options)")


class CommandLine:
    """A script's options: those that all scripts have, and one for each field of `Game` that belongs to `stages`.

    `add` is argparse's `add_argument`. `parse(argv)` returns (game, args): the Game at its scale with the options that were
    given put in, and the argparse namespace, in which `run_dir` is never None.

    legacy_games: {old name: (game, world)}, names that the original had; `args.legacy_world` is then the world, else None.
    """

    def __init__(self, description, *stages, legacy_games=None):
        self.parser = _Parser(description=description, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter)
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
        """Options for how the real world is seen; `rundir.world_keywords` makes the environment's keywords of them."""
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
        """--precision of `what`; `rundir.settle_precision` makes "float32" or "bfloat16" of "auto"."""
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


PRECISIONS = ("float32", "bfloat16")


def bfloat16_allowed():
    """Whether oneDNN may use AVX-512. Where ONEDNN_MAX_CPU_ISA forbids what the processor has, bfloat16 ends in a crash."""
    return os.environ.get("ONEDNN_MAX_CPU_ISA", "ALL").upper().startswith(("ALL", "DEFAULT", "AVX512", "AVX10"))


def check_precision(name):
    """Raise UserError where `name` is none of PRECISIONS, or cannot be had here."""
    if name not in PRECISIONS:
        raise UserError(f"there is no precision {name!r}: choose one of {', '.join(PRECISIONS)}")
    if name == "bfloat16" and not bfloat16_allowed():
        raise UserError("there is no bfloat16 with the ONEDNN_MAX_CPU_ISA that is set: unset it, or choose float32")


def fast_precision(cpuinfo="/proc/cpuinfo"):
    """What `auto` is: "bfloat16" where this processor's products of it are the faster ones, which /proc/cpuinfo tells.

    They are with AMX, and with AVX512-BF16 on AMD's processors. With AVX512-BF16 alone Intel's take 1.8 times as long as with
    float32 (V's encoder, 16 frames on a core of a Xeon: 6.8 ms against 3.8), and without it any take many times as long.
    """
    if not bfloat16_allowed():
        return "float32"
    try:
        with open(cpuinfo) as file:
            lines = (line.partition(":") for line in file)
            facts = {name.strip(): value.split() for name, _, value in lines}
    except OSError:
        return "float32"
    flags = facts.get("flags", [])
    fast = "amx_bf16" in flags or "avx512_bf16" in flags and facts.get("vendor_id") == ["AuthenticAMD"]
    return "bfloat16" if fast else "float32"


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


def set_threads(count):
    """Let TensorFlow, OpenCV and NumPy's BLAS use `count` threads. For the first two it works only before they are loaded."""
    blas = "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"
    # OpenCV's second thread, which has nothing to do in pictures of 96 by 84, would spin beside the worker all the time.
    for name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OPENCV_FOR_THREADS_NUM", *blas):
        os.environ.setdefault(name, str(count))
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    threadpoolctl.threadpool_limits(count, "blas")  # NumPy has read the variables by now, where it is loaded


def keep_memory():
    """Let glibc's malloc keep what is freed, where that is what allocates.

    It would give each large array back to the system, which gives it out again page by page, with a fault and zeros for each.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    for parameter, value in ((-1, 1 << 30), (-2, 64 << 20), (-3, 32 << 20)) if mallopt else ():
        mallopt(parameter, value)  # M_TRIM_THRESHOLD, M_TOP_PAD and M_MMAP_THRESHOLD, which takes no more than this


def load_tensorflow(threads, lanes=False):
    """Import TensorFlow with `threads` threads, and without the half dozen lines that no setting keeps it from printing.

    lanes: the threads never share an operation; each runs whole ones of its own, as dreams are rolled out (doomrnn.population).
    """
    if lanes:
        os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
    set_threads(threads)
    keep_memory()
    sys.stderr.flush()
    stderr, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    try:
        import tensorflow  # noqa: F401
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(nothing)


def run_script(main):
    """Call `main()`; a UserError becomes its sentence on stderr and exit status 2."""
    try:
        main()
    except UserError as error:
        print(f"{os.path.basename(sys.argv[0])}: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
