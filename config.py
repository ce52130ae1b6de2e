"""The Game dataclass, and the published hyperparameters.

Each game has a file in env/ with its values; `GAMES` collects them. A default here is the published value. A field whose
metadata names a stage is an option of that stage's script: `vae_epochs` is `python -m vae.train --epochs`.

Sources: Ha & Schmidhuber, "World Models" (2018), https://worldmodels.github.io, and the authors' code,
https://github.com/hardmaru/WorldModelsExperiments. Where they differ, the default is the article's value and a comment gives
the other.
"""

import importlib
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace

sys.modules[__name__] = importlib.import_module("world_models.config")  # also where it is imported by its flat name


class UserError(Exception):
    """Bad input. The message is one sentence: what is wrong, and how to correct it. Scripts print it and exit with status 2."""


def _setting(stage, help, default, option=None, choices=()):
    """A field that is an option of `stage`'s script. Its default name is the field's name without the prefix "STAGE_".

    choices: the allowed values, if the field is a text.
    """
    return field(default=default, metadata={"stage": stage, "help": help, "option": option, "choices": choices})


MODES = ("zh", "zch", "z", "z_hidden")  # what a controller sees; z_hidden: z, through a hidden layer


@dataclass(frozen=True)
class Original:
    """The authors' files for a game, and their names for it."""

    folder: str  # in their repository
    places: dict  # {"vae": paths of its file in that folder, ...}; their scripts read the first
    log: str  # prefix of the names of a search's logs
    worlds: dict  # {their name for the game: "real" or "dream"}, where it differs from ours


@dataclass(frozen=True)
class Map:
    """Two numbers that say where a game is, to draw what was visited (controller.rounds --maps)."""

    place: Callable  # place(frames (T,64,64,3) uint8) -> (T-1, 2), the place of each frame but the last
    names: tuple
    ranges: tuple  # ((least, greatest), (least, greatest))
    cells: tuple  # into which the two ranges are divided


@dataclass(frozen=True, kw_only=True)
class Game:
    """A game, and all that the procedure needs to know about it. Frozen: `dataclasses.replace` makes a changed copy."""

    # The real world. Actions are C's outputs and M's inputs. `action_maps` has one map for each number of an action. It is
    # applied to C's tanh output a: "signed" is a itself, in (-1, 1); "halved" is (a + 1) / 2; "clipped" is clip(a, 0, 1).
    name: str
    environment: Callable  # makes a Gymnasium environment with observations (64,64,3) uint8
    real_id: str
    max_steps: int  # env steps after which an episode of the real world ends
    timeout: bool  # whether Gymnasium's TimeLimit counts these steps, not the environment itself
    frames_per_second: int
    action_maps: tuple
    mirrored_action: tuple  # factors that turn an action into that of the mirrored game
    keys: dict = field(default_factory=dict, repr=False)  # {pygame's name of a key: its action}, for play.py
    options: dict = field(default_factory=dict)  # keywords of `environment`: {name: (its values, the default first; help)}
    random_policy: Callable  # random_policy(game, rng) -> act(t) -> (A,): records the training data; see env.policies
    blind_players: Callable  # blind_players(game, rng) -> {name: act(t)}: baselines that ignore the frames
    walk: tuple | None = None  # (name, first, steps) of the blind player, a `to_and_fro`, that an agent has to beat

    map: Map | None = None

    # Its dream.
    dream_id: str
    train_world: str  # where C is evolved: "real" or "dream"
    whole_episodes: bool  # M trains on whole episodes from the zero state, not on streams that run through all episodes
    predict_restart: bool = False  # M predicts deaths, and has a flag as input where an episode begins
    predict_action: bool = False  # the recorded policy's next action
    reward_scale: float = 1.0  # M predicts rewards divided by this
    least_reward: float = -math.inf  # to M all lower rewards are this one
    survival_reward: float = 0.0  # reward of each step of a dream, where M predicts none
    judge: object = None  # scores dreams without rewards by their pictures, as env.car.on_road.OnRoad does
    controller_bias: bool

    # What was published, and what a scale changes.
    published: dict = field(default_factory=dict)  # {"real" or "dream": [(what, mean, standard deviation), ...]}
    original: Original | None = None
    scales: dict = field(default_factory=dict, repr=False)  # {scale: {field: value}}
    round: dict = field(default_factory=dict, repr=False)  # {field: value} in a round of the iterative procedure (iterate.py)

    # extract.py
    record_episodes: int = _setting("record", "episodes to record", 10_000)
    record_max_steps: int = _setting("record", "frames after which an episode is cut", 1000)
    record_min_frames: int = _setting("record", "episodes of this many frames or fewer are replayed with a new seed", 0)
    record_hold: int = _setting("record", "the most frames that the random policy repeats an action, where it repeats any", 10)
    record_full: bool = _setting("record", "continue to the last step after the game has ended", False)

    # V. The authors' code runs 10 epochs, the article says 1.
    z_size: int = _setting("vae", "numbers in a latent vector z", 32)
    vae_channels: int = _setting("vae", "filters of V's first layer, to which those of the others are in proportion", 32)
    vae_epochs: int = _setting("vae", "passes over all recorded frames", 1)
    vae_min_gain: float = _setting("vae", "stop where three passes lower the held-out loss by less than this share", 0.0)
    vae_batch_size: int = _setting("vae", "frames in a batch", 100)
    vae_learning_rate: float = _setting("vae", "Adam's step size", 1e-4)
    vae_from_mean: bool = _setting("vae", "V's decoder starts with the frames' mean colour; not in the article", False)
    vae_kl_tolerance: float = _setting("vae", "nats for each latent dimension below which the KL term is not penalized", 0.5)

    # Not in the article or the authors' code.
    mirror: bool = _setting("mirror", "V and M also learn from every frame's mirror image, with the action mirrored", False)

    half_new: bool = _setting(
        "half_new", "a pass takes all episodes of this run and at most as many of other runs (extract.py --with)", False
    )

    # M. The article says 20 epochs, the authors' code runs more: each game's file says how many.
    rnn_size: int = _setting("rnn", "LSTM units", 256, option="rnn-size")
    num_mixture: int = _setting("rnn", "Gaussians for each latent dimension", 5)
    rnn_epochs: int = _setting("rnn", "passes over all episodes", 20)
    rnn_batch_size: int = _setting("rnn", "sequences in a batch", 100)
    rnn_seq_len: int = _setting("rnn", "transitions in a sequence", 999)
    rnn_learning_rate: float = _setting("rnn", "Adam's initial step size", 1e-3)
    rnn_decay: float = _setting("rnn", "factor on the step size after each update", 1.0)
    rnn_grad_clip: float = _setting("rnn", "each gradient value is clipped to +- this", 1.0)
    rnn_anywhere: bool = _setting(
        "rnn", "M's sequences and dreams also begin in the midst of recorded episodes; not in the article", False
    )
    rnn_dropout: float = _setting("rnn", "share of M's inputs z and h that are left out, the same in a whole sequence", 0.0)
    rnn_restart_weight: float = _setting("rnn", "weight of the restart loss where a restart happens", 10.0)
    predict_reward: bool = _setting("rnn", "M also predicts rewards, from which C can learn in its dream", False)

    # The dream.
    dream_temperature: float = _setting("dream", "1 is M as trained; higher values make the dream less certain", 1.0)
    dream_max_steps: int = _setting("dream", "steps after which a dream is cut", 1000, option="dream-max-steps")

    # Not in the article or the authors' code.
    dream_death: str = _setting(
        "dream",
        "a dream ends where death is more likely than not (cut), or by chance, as probable as M holds it to be (drawn)",
        "cut",
        choices=("cut", "drawn"),
    )
    dream_dropout: float = _setting(
        "dream", "share of M's inputs z and h that are left out, the same in a whole dream", 0.0, option="dream-dropout"
    )

    # C and CMA-ES.
    controller_mode: str = _setting(
        "controller", "what C sees: zh, zch, z, or z_hidden (z through 40 tanh units)", "zh", choices=MODES
    )
    controller_population: int = _setting("controller", "candidates in a generation", 64)
    controller_episodes: int = _setting("controller", "episodes of a candidate; its fitness is their mean score", 16)
    controller_max_steps: int = _setting("controller", "real steps after which a training episode is cut", 1000)
    controller_sigma_init: float = _setting(
        "controller", "initial standard deviation of the search, which starts from zeros or --start", 0.1
    )
    controller_step_size: str = _setting(
        "controller",
        "how it adapts: csa (length of the mean's path) or tpa (two points on its last step)",
        "csa",
        choices=("csa", "tpa"),
    )
    controller_generations: int = _setting("controller", "generations to evolve", 1800)
    controller_eval_steps: int = _setting("controller", "generations between evaluations of the CMA mean", 25)
    controller_eval_episodes: int = _setting("controller", "episodes in each evaluation of the CMA mean", 1024)
    controller_seeds: str = _setting(
        "controller",
        "which candidates share episode seeds: 'pairs' (as published: 32 sets of seeds for 64 candidates), 'one' (all share), "
        "'own' (none share)",
        "pairs",
        choices=("pairs", "one", "own"),
    )

    def __post_init__(self):
        """Raises UserError for settings that do not fit together, and for a text that is not among its choices."""
        for f in fields(self):
            value, choices = getattr(self, f.name), f.metadata.get("choices")
            if choices and value not in choices:
                raise UserError(f"{f.name} is {value!r}: choose one of {', '.join(choices)}")
        if self.rnn_anywhere and (self.predict_restart or not self.whole_episodes):
            raise UserError(f"--anywhere is for an M of whole episodes that predicts no restarts, not that of {self.name}")
        if self.record_full and self.predict_restart:
            raise UserError(f"--full continues after a game's end, but {self.name} ends with the player's death: leave it out")
        for share in (self.rnn_dropout, self.dream_dropout):
            if not 0 <= share < 1:
                raise UserError(f"the dropout is {share}: give a share of 0 or more, below 1")

    @property
    def action_size(self):
        return len(self.action_maps)

    @property
    def lowest_action(self):
        """The minimum of each number of an action; the maximum is 1."""
        return tuple(-1.0 if name == "signed" else 0.0 for name in self.action_maps)

    @property
    def predicts(self):
        """{"predict_restart": bool, ...}: what M predicts besides the next z, as keywords of MDNRNN."""
        return {name: getattr(self, name) for name in ("predict_restart", "predict_reward", "predict_action")}

    @property
    def dream_rewards(self):
        """Whether this game's dream has a reward, without which C cannot learn there."""
        return self.predict_reward or self.survival_reward != 0

    @property
    def dream_rules(self):
        """{"temperature", "death", "dropout"}: how its dreams are sampled, as keywords of its Gymnasium environment."""
        return {"temperature": self.dream_temperature, "death": self.dream_death, "dropout": self.dream_dropout}

    def dreams_are_judged(self, world):
        """Whether episodes in `world`, "real" or "dream", are scored by their pictures: true for dreams without a reward."""
        return world == "dream" and not self.dream_rewards


# What a scale changes for every game. The games' own files have the changes for one game.
SCALES = {
    "paper": {},  # as published
    "quick": {},  # `make run` in 15 minutes on 2 cores
    "smoke": dict(  # for tests; too little for learning
        record_episodes=4,
        vae_channels=8,
        vae_batch_size=20,
        vae_epochs=1,
        rnn_batch_size=2,
        rnn_epochs=2,
        controller_population=4,
        controller_episodes=2,
        controller_max_steps=30,
        controller_generations=2,
        controller_eval_steps=2,
        controller_eval_episodes=4,
    ),
}


def __getattr__(name):
    """GAMES, {name: Game}, is built on first access, because the games import this file."""
    if name != "GAMES":
        raise AttributeError(f"module 'config' has no attribute {name!r}")
    from world_models import env

    return env.GAMES


def scaled(name, scale="paper"):
    """The Game `name` at `scale`. Raises UserError for a name or a scale that does not exist."""
    games = __getattr__("GAMES")
    if name not in games:
        raise UserError(f"there is no game {name!r}: choose one of {', '.join(games)}")
    if scale not in SCALES:
        raise UserError(f"there is no scale {scale!r}: choose one of {', '.join(SCALES)}")
    return replace(games[name], **(SCALES[scale] | games[name].scales.get(scale, {})))


def stage_settings(game, *stages):
    """{field name: value} of the fields of `game` that are options of `stages`."""
    return {f.name: getattr(game, f.name) for f in fields(Game) if f.metadata.get("stage") in stages}


def option(f):
    """The option of the Game's field `f` in its stage's script, such as --sigma-init."""
    return "--" + (f.metadata["option"] or f.name.removeprefix(f.metadata["stage"] + "_").replace("_", "-"))
