"""What a game is, and the hyperparameters of all of them.

Each game is a file of its own in env/, which has its values; `GAMES` finds them. A default here is the published value. A field
whose metadata names a stage is an option of that stage's script: `vae_epochs` is `python -m vae.train --epochs`.

Sources: Ha & Schmidhuber, "World Models" (2018), https://worldmodels.github.io, and the authors' code,
https://github.com/hardmaru/WorldModelsExperiments. Where they differ, the article is the default and the comment has the other.
"""

import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace

sys.modules[__name__] = importlib.import_module("world_models.config")  # also where it is imported by its flat name


class UserError(Exception):
    """Bad input, told in one sentence: what is wrong, and what makes it right. Scripts print it and exit with status 2."""


def _setting(stage, help, default, option=None, choices=()):
    """A field that is an option of `stage`'s script, by default called as the field without "STAGE_" before it.

    choices: the values that a text can have.
    """
    return field(default=default, metadata={"stage": stage, "help": help, "option": option, "choices": choices})


MODES = ("zh", "zch", "z", "z_hidden")  # of controllers: what they see; the last is z too, through a hidden layer


@dataclass(frozen=True)
class Original:
    """What the authors' code has for a game, and where."""

    folder: str  # in their repository
    places: dict  # {"vae": paths of its file in that folder, ...}: the first is the one that their scripts read
    log: str  # what the names of a search's logs begin with
    worlds: dict  # {their name for the game: "real" or "dream"}, where it is not ours


@dataclass(frozen=True, kw_only=True)
class Game:
    """A game and everything that the procedure needs to know of it. Frozen: `dataclasses.replace` makes a changed copy."""

    # The real world. Actions are what C puts out and M sees; `action_maps` turn C's tanh outputs into them, one map for each:
    # "signed" leaves (-1, 1), "halved" is (a + 1) / 2, "clipped" is clip(a, 0, 1).
    name: str
    environment: Callable  # makes a Gymnasium environment with observations (64,64,3) uint8
    real_id: str
    max_steps: int  # env steps after which an episode of the real world is over
    timeout: bool  # the environment itself does not count them: Gymnasium's TimeLimit does
    frames_per_second: int
    action_maps: tuple
    mirrored_action: tuple  # factors that make an action that of the same game seen in a mirror
    options: dict = field(default_factory=dict)  # keywords of `environment`: {name: (its values, the default first; help)}
    random_policy: Callable  # random_policy(game, rng) -> act(t) -> (A,): what V and M learn from; see env.policies
    blind_players: Callable  # blind_players(game, rng) -> {name: act(t)}: who sees nothing, for comparison

    # Its dream.
    dream_id: str
    train_world: str  # where C is evolved: "real" or "dream"
    whole_episodes: bool  # M trains on whole episodes from the zero state, not on streams that run through all episodes
    predict_restart: bool = False  # M predicts death, and is told where an episode begins
    predict_reward: bool = False
    predict_action: bool = False  # the next one of the recorded policy
    reward_scale: float = 1.0  # rewards are so many times what M predicts
    survival_reward: float = 0.0  # for each step of a dream, where M predicts no reward
    judge: object = None  # scores a dream that has no reward by its pictures; with what evaluate.py asks of it
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
    record_hold: int = _setting("record", "frames that the random policy keeps an action at most, where it keeps any", 10)
    record_full: bool = _setting("record", "go on after the game says it is over, to the last step", False)

    # V. The authors' code runs 10 epochs, the article says 1.
    z_size: int = _setting("vae", "numbers in a latent vector z", 32)
    vae_epochs: int = _setting("vae", "passes over all recorded frames", 1)
    vae_min_gain: float = _setting("vae", "stop after 3 passes that took less than this share off the held-out loss", 0.0)
    vae_batch_size: int = _setting("vae", "frames in a batch", 100)
    vae_learning_rate: float = _setting("vae", "Adam's step size", 1e-4)
    vae_from_mean: bool = _setting("vae", "V's decoder starts with the frames' mean colour; not in the article", False)
    vae_kl_tolerance: float = _setting("vae", "nats for each latent dimension below which the KL term is not penalized", 0.5)

    # Not in the article or the authors' code.
    mirror: bool = _setting("mirror", "V and M also learn from every frame's mirror image, with the action mirrored", False)

    half_new: bool = _setting(
        "half_new", "in a pass, all episodes of this run, and no more of those of others (extract.py --with)", False
    )

    # M. The article says 20 epochs, the authors' code runs more: each game's file says how many.
    rnn_size: int = _setting("rnn", "LSTM units", 256, option="rnn-size")
    num_mixture: int = _setting("rnn", "Gaussians for each latent dimension", 5)
    rnn_epochs: int = _setting("rnn", "passes over all episodes", 20)
    rnn_batch_size: int = _setting("rnn", "sequences in a batch", 100)
    rnn_seq_len: int = _setting("rnn", "transitions in a sequence", 999)
    rnn_learning_rate: float = _setting("rnn", "Adam's first step size", 1e-3)
    rnn_decay: float = _setting("rnn", "factor on the step size after each update", 1.0)
    rnn_grad_clip: float = _setting("rnn", "each gradient value is clipped to +- this", 1.0)
    rnn_restart_weight: float = _setting("rnn", "weight of the restart loss where a restart happens", 10.0)

    # The dream.
    dream_temperature: float = _setting("dream", "1 is M as trained; more makes the dream less certain", 1.0)
    dream_max_steps: int = _setting("dream", "steps after which a dream is cut", 1000, option="dream-max-steps")

    # C and CMA-ES.
    controller_mode: str = _setting(
        "controller", "what C sees: zh, zch, z, or z_hidden (z through 40 tanh units)", "zh", choices=MODES
    )
    controller_population: int = _setting("controller", "candidates in a generation", 64)
    controller_episodes: int = _setting("controller", "episodes that a candidate's fitness is the mean of", 16)
    controller_max_steps: int = _setting("controller", "real steps after which a training episode is cut", 1000)
    controller_sigma_init: float = _setting("controller", "first standard deviation of the search, from zero", 0.1)
    controller_step_size: str = _setting(
        "controller", "how that adapts: csa, by the mean's path, or tpa, by two points", "csa", choices=("csa", "tpa")
    )
    controller_generations: int = _setting("controller", "generations to evolve", 1800)
    controller_eval_steps: int = _setting("controller", "generations between evaluations of the CMA mean", 25)
    controller_eval_episodes: int = _setting("controller", "episodes of such an evaluation", 1024)
    controller_seeds: str = _setting(
        "controller",
        "which candidates share episode seeds: 'pairs' (as published, 32 seeds for 64), 'one' (the same for all), 'own'",
        "pairs",
        choices=("pairs", "one", "own"),
    )

    @property
    def action_size(self):
        return len(self.action_maps)

    @property
    def lowest_action(self):
        """The least that each number of an action can be; the greatest is 1."""
        return tuple(-1.0 if name == "signed" else 0.0 for name in self.action_maps)

    @property
    def predicts(self):
        """{"predict_restart": bool, ...}: what M predicts beside the next z, as MDNRNN takes it."""
        return {name: getattr(self, name) for name in ("predict_restart", "predict_reward", "predict_action")}

    @property
    def dream_rewards(self):
        """Whether there is anything to learn from in this game's dream."""
        return self.predict_reward or self.survival_reward != 0

    def dreams_are_judged(self, world):
        """Whether scores in `world`, "real" or "dream", are by what it looks like: in a dream that has no reward."""
        return world == "dream" and not self.dream_rewards


# What a scale changes for every game; the games' own files say what it changes for each.
SCALES = {
    "paper": {},  # as published
    "quick": {},  # `make run` in 15 minutes on 2 cores
    "smoke": dict(  # for tests, and learns nothing
        record_episodes=4,
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
    """GAMES, {name: Game}, is put together when it is first asked for: the games import this file."""
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
