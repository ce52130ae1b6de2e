"""The games, their published hyperparameters, and the scales.

`GAMES` holds the published values (`--scale paper`); `SCALES` says what the smaller scales change. A field whose metadata
names a stage is an option of that stage's script: `vae_epochs` is `python -m vae.train --epochs`.

Sources: Ha & Schmidhuber, "World Models" (2018), https://worldmodels.github.io, and the authors' code,
https://github.com/hardmaru/WorldModelsExperiments. Where they differ, the article is the default and the comment has the other.
"""

from dataclasses import dataclass, field, fields, replace


class UserError(Exception):
    """Bad input, told in one sentence: what is wrong, and what makes it right. Scripts print it and exit with status 2."""


def _setting(stage, help, default, option=None):
    """A field that is an option of `stage`'s script, by default called as the field without "STAGE_" before it."""
    return field(default=default, metadata={"stage": stage, "help": help, "option": option})


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
    mirrored_action: tuple  # factors that make an action that of the same game seen in a mirror

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

    # Neither the article nor the authors' code knows this.
    mirror: bool = _setting("mirror", "V and M also learn from every frame's mirror image, with the action turned round", False)

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
            mirrored_action=(-1, 1, 1),
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
            mirrored_action=(-1,),
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
