"""V's reconstructions, M's dreams and predicted ends, and the scores of blind players in the dream and in the real world."""

import os

import numpy as np
from matplotlib import image

from world_models import env
from world_models.dream.dream import load_dream
from world_models.dream.foresight import AHEAD, Foresight
from world_models.env.policies import constant_policy, play
from world_models.env.record import load_episode, split
from world_models.job.rundir import Atomic, Stage, world_keywords, write_json
from world_models.rnn.world_model import load_vision
from world_models.vae.frames import evenly, recorded

EPISODES, MOMENTS = 6, 12  # rows and columns of pictures
LAST = 60  # frames before an episode's end; in Take Cover the fireball that ends it is in view then
DREAMS = 128
# Columns of the table of recorded games: title, key, format. One without a value is left out.
COLUMNS = (
    ("games", "episodes", "d"),
    ("V error", "error", ".1f"),
    ("at the end", "error_before_end", ".1f"),
    ("ends foreseen", "recall", ".0%"),
    ("false alarms", "false_alarms", ".2%"),
    (f"{AHEAD} steps ahead", "ahead", ".1%"),
    ("elsewhere", "elsewhere", ".1%"),
    ("R^2 of reward", "reward_r2", ".3f"),
    ("of next action", "action_r2", ".3f"),
)


def probe(game, args):
    """Write runs/GAME/probe/, and print a summary. args: those of probe.py."""
    vae = load_vision(args.run_dir, game)
    dream = load_dream(args.run_dir, game, game.dream_temperature, precision=args.precision)
    held_out = _held_out(args.run_dir, game)
    recordings = _recordings(game, args, held_out)
    keywords = world_keywords(game, args, args.run_dir)
    settings = {**game.dream_rules, "episodes": args.episodes, "precision": args.precision, **keywords}
    with Stage(args.run_dir, "probe", settings, args.seed, exclusive=False) as stage:
        _save(stage.path("reconstructions.png"), _reconstructions(game, held_out, vae))
        _save(stage.path("dreams.png"), _pictures(game, dream, vae))
        print(f"{stage.path('reconstructions.png')}: recorded frames, and V's reconstruction below each")
        print(f"{stage.path('dreams.png')}: dreams of one who does nothing, from left to right")
        if game.dream_rewards:
            players = _players(game, dream, args, keywords)
            write_json(stage.path("players.json"), players, indent=1)
            print(_table(game, players, dream.temperature))
        foresight = Foresight(game, vae, dream)
        measured = {name: foresight(paths, args.seed) for name, paths in recordings.items()}
        write_json(stage.path("recorded.json"), measured, indent=1)
        print(_recorded_table(measured))


def dreamed(dream, acts, seeds, max_steps):
    """(scores (B,), lengths (B,), z (T,B,Z)) of dreams with `seeds`, played by `acts`, B policies act(t) -> (A,).

    They are cut at max_steps. B is 2 or more. z: that before each step, also of dreams that have ended.
    """
    steps = dream.watch(lambda t, z, state: np.array([act(t) for act in acts], np.float32), seeds, max_steps)
    seen, alive, rewards = zip(*steps, strict=True)
    return np.sum(rewards, axis=0), np.sum(alive, axis=0), np.array(seen)


def _players(game, dream, args, keywords):
    """{player: {"dream": scores, "real": scores}} of the game's blind players."""
    world, told = env.make(game, **keywords), {}

    def player(name, episode):
        return game.blind_players(game, np.random.default_rng((args.seed, episode)))[name]

    for name in game.blind_players(game, np.random.default_rng()):
        scores, *_ = dreamed(dream, [player(name, i) for i in range(DREAMS)], np.arange(DREAMS) + args.seed, dream.max_steps)
        real = [play(world, player(name, i), args.seed + i, game.max_steps)[2].sum() for i in range(args.episodes)]
        told[name] = {"dream": scores.tolist(), "real": np.array(real).tolist()}
    world.close()
    return told


def _table(game, players, temperature):
    columns = f"{f'in dreams at {temperature:g}':>20} {'in the game':>16}   dream / game, 95% interval"
    lines = [f"{'score (mean +- standard error)':38} {columns}"]
    for name, scores in players.items():
        told = [f"{np.mean(part):.0f} +- {np.std(part) / len(part) ** 0.5:.0f}" for part in scores.values()]
        low, high = _ratio_interval(scores["dream"], scores["real"])
        ratio = np.mean(scores["dream"]) / np.mean(scores["real"])
        lines.append(f"{name:38} {told[0]:>20} {told[1]:>16}   {ratio:.2f}, {low:.2f} to {high:.2f}")
    if game.walk and game.survival_reward == 1:
        name, first, steps = game.walk
        lines += ["", f"{'deaths in 1000 steps, ' + name:48} {'in dreams':>10} {'in the game':>12}"]
        hazards = [_hazards(part, first, steps, game.max_steps) for part in players[name].values()]
        for part, values in zip(("leaving a wall", "in the middle", "nearing a wall"), zip(*hazards, strict=True), strict=True):
            lines.append(f"{part:48} {values[0]:10.2f} {values[1]:12.2f}")
    return "\n".join(lines)


def _ratio_interval(some, others, resamples=10_000):
    """The 95% percentile bootstrap interval of mean(some) / mean(others), with a fixed seed."""
    rng = np.random.default_rng(0)
    means = [np.mean(rng.choice(part, (resamples, len(part))), axis=1) for part in (some, others)]
    return np.percentile(means[0] / means[1], (2.5, 97.5))


def _hazards(lives, first, steps, max_steps):
    """Deaths in 1000 steps of one who walks to and fro, in each third of his way. lives: (N,), in steps."""
    deaths, lived = np.zeros(3), np.zeros(3)
    for life in np.int64(lives):
        third = (np.arange(life) - first) % steps * 3 // steps
        lived += np.bincount(third, minlength=3)
        if life < max_steps:
            deaths[third[-1]] += 1
    return 1000 * deaths / np.maximum(lived, 1)


def _held_out(run_dir, game):
    """The paths of the run's recorded episodes that were held out from training."""
    paths = recorded(run_dir, game, skip_bad=True)[0]
    return split(paths)[1] or paths  # a single episode is not held out


def _recordings(game, args, held_out):
    """{description: paths} of recorded games: the run's held-out ones, by the run that recorded them, and those of --games."""
    groups = {}
    for path in held_out:
        origin = os.path.basename(path).rpartition("-")[0]
        groups.setdefault(f"held out, from {origin}" if origin else "held out", []).append(path)
    for run_dir in args.games:
        groups[run_dir] = recorded(run_dir, game, skip_bad=True)[0]
    return {name: [paths[i] for i in evenly(len(paths), args.recorded)] for name, paths in groups.items()}


def _recorded_table(measured):
    columns = [column for column in COLUMNS if any(row[column[1]] is not None for row in measured.values())]
    lines = [" ".join([f"{'recorded games':38}", *(f"{title:>{len(title) + 1}}" for title, *_ in columns)])]
    for name, row in measured.items():
        cells = ("" if row[key] is None else format(row[key], style) for _, key, style in columns)
        padded = (f"{cell:>{len(title) + 1}}" for cell, (title, *_) in zip(cells, columns, strict=True))
        lines.append(" ".join([f"{name:38}", *padded]).rstrip())
    return "\n".join(lines)


def _reconstructions(game, paths, vae):
    """A grid of pictures: each row has frames of a file in `paths`, with their reconstructions below."""
    rows = []
    for path in paths[:EPISODES]:
        obs = load_episode(path, game.action_size).obs
        if game.predict_restart:
            obs = obs[-LAST:]
        obs = obs[np.linspace(0, len(obs) - 1, MOMENTS).astype(int)]
        rows += [_row(obs), _row(vae.pictures(vae.encode(obs)[0]))]
    return np.concatenate(rows)


def _pictures(game, dream, vae):
    """A grid of pictures: each row is a dream from its beginning to its end."""
    idle = constant_policy(*[0] * game.action_size)
    _, lengths, seen = dreamed(dream, [idle] * EPISODES, np.arange(EPISODES), dream.max_steps)
    moments = [np.linspace(0, length - 1, MOMENTS).astype(int) for length in lengths]
    return np.concatenate([_row(vae.pictures(seen[when, i])) for i, when in enumerate(moments)])


def _row(frames):
    return np.concatenate(frames, axis=1)


def _save(path, picture):
    with Atomic(path) as temporary:
        image.imsave(temporary, picture.repeat(2, axis=0).repeat(2, axis=1), format="png")
