"""The scores of a trained agent over fixed seeds, beside those of random policies, and a video of it."""

import os
import sys
from functools import partial

import numpy as np

from world_models import env
from world_models.config import GAMES
from world_models.controller.agent import load_controller
from world_models.controller.report import save_histogram, summary, table, write_film
from world_models.controller.rollout import DreamWorld, open_world, run_episodes, watch_dreams
from world_models.env.policies import extraction_policy, play, uniform_policy
from world_models.env.record import load_episode
from world_models.job.outputs import output
from world_models.job.rundir import Atomic, Stage, controller_stage, digest, origin, read_json, world_keywords, write_json
from world_models.job.seeds import TEST, VALIDATION, episode_seeds
from world_models.job.workers import ROWS
from world_models.rnn.world_model import load_vision
from world_models.vae.frames import recorded

DECOYS = 32  # games, which are held in memory


def evaluate(game, args, pool):
    """Play, print and write runs/GAME/evaluate/. args: those of evaluate.py."""
    keywords = world_keywords(game, args, args.run_dir, args.name) if args.world == "real" else {}
    world = pool.together(lambda: _open(game, args, keywords))
    settings = {"world": args.world, "split": args.split, "episodes": args.episodes, "run": args.run_dir, **keywords}
    settings |= {"max_steps": args.max_steps, "precision": args.precision}
    settings |= {"decoys": args.decoys} if args.decoys else {}
    settings["agent"] = pool.together(lambda: _files(game, args))
    if args.world == "dream":
        settings |= game.dream_rules
    with pool.stage(Stage(args.output, "evaluate", settings, args.seed, exclusive=False)) as stage:
        measured, seeds = _measure(game, args, keywords, world, pool)
        if pool.rank == 0:
            print(table(game, args.world, measured))
            if game.dreams_are_judged(args.world):
                print(_told(game, measured["this agent"]))
            _write(game, args, stage, settings, measured, seeds)
            if args.video:
                _film(game, args, world, seeds[0])


def _files(game, args):
    """{file: SHA-256} of what makes the agent."""
    folder = "legacy" if args.legacy else controller_stage(args.run_dir, args.name)
    controller = None if args.legacy else args.controller
    paths = [os.path.join(args.run_dir, *names) for names in (("vae", "vae.keras"), ("rnn", "rnn.keras"))]
    paths.append(controller or os.path.join(args.run_dir, folder, "best.json"))
    return {path: digest(path) for path in paths if os.path.exists(path)}  # a dream without pictures needs no V


def _open(game, args, keywords):
    stage = "legacy" if args.legacy else controller_stage(args.run_dir, args.name)
    mode, params = load_controller(args.run_dir, game, stage, None if args.legacy else args.controller)
    models = args.world, args.run_dir, game, ROWS, mode, game.dream_temperature
    world = open_world(*models, args.threads, args.precision, **keywords)
    world.controller.set_params(params)
    if args.decoys:
        paths = recorded(args.decoys, game, skip_bad=False)[0][:DECOYS]
        world.decoys = [load_episode(path, game.action_size).obs for path in paths]
    return world


def _measure(game, args, keywords, world, pool):
    """({name: summary}, the episodes' seeds) of the agent and, with --baseline, of the random policies."""
    purpose = {"test": TEST, "validation": VALIDATION}[args.split]
    seeds = episode_seeds(args.episodes, args.seed, purpose)
    if game.dreams_are_judged(args.world):
        return {"this agent": _judge(game, args, world, pool, seeds)}, seeds
    measured = {"this agent": summary(*run_episodes(pool, world, world.controller.params, seeds, args.max_steps))}
    if args.baseline:
        bare = env.make(game, **keywords)
        for name, policy in _baselines(game).items():

            def score(seed, policy=policy):
                rewards = play(bare, policy(np.random.default_rng((seed, 1))), seed, args.max_steps)[2]
                return rewards.sum(), len(rewards)

            measured[name] = summary(*zip(*pool.map(score, seeds), strict=True))
        bare.close()
    return measured, seeds


def _judge(game, args, world, pool, seeds):
    """The summary of dreams that the game's judge scores by their pictures, with each dream's share of good frames."""
    vae, judge = load_vision(args.run_dir, game), game.judge

    def score(part):
        rows = np.resize(part, ROWS)  # the batch always has all its rows
        seen = [judge.see(vae.pictures(z)) for z in watch_dreams(world, rows, args.max_steps)]
        return [(*row, len(seen)) for row in zip(*judge.score(seen), strict=True)][: len(part)]

    results = pool.map(score, [seeds[i : i + ROWS] for i in range(0, len(seeds), ROWS)])
    scores, shares, steps = zip(*sum(results, []), strict=True)
    return summary(scores, steps) | {judge.share: [float(share) for share in shares]}


def _told(game, judged):
    told = game.judge.told.format(share=np.mean(judged[game.judge.share]))
    return f"A dream of this game has no reward: {told}, as V's decoder shows them (of at most {max(judged['steps'])} steps)."


def _baselines(game):
    """{name: policy(rng) -> act}: the two published random ones, that of this scale where it differs, and the blind walk."""
    published = GAMES[game.name]
    recorded = "as published to record" if published.published else "as recorded"
    policies = {f"random, {recorded}": partial(extraction_policy, published)}
    policies["random, fresh action each step"] = partial(uniform_policy, published)
    if game.record_hold != published.record_hold:
        policies["random, as recorded at this scale"] = partial(extraction_policy, game)
    if game.walk:
        policies[f"blind, {game.walk[0]}"] = lambda rng: game.blind_players(game, rng)[game.walk[0]]
    return policies


def _name(game, args):
    """The name of the result's files: WORLD-SPLIT, and what was asked for besides."""
    parts = [args.world, args.split, *filter(None, [args.name]), *(["pretrained"] if args.pretrained else [])]
    if args.controller and not args.legacy:
        parts.append(os.path.splitext(os.path.basename(args.controller))[0])
    return "-".join(parts + args.changes)


def _write(game, args, stage, settings, measured, seeds):
    (agent, *baselines) = measured.items()
    result = {"game": game.name, **settings, "seed": args.seed, "seeds": seeds, **agent[1], "baselines": dict(baselines)}
    name = _name(game, args)
    path = stage.path(f"{name}.json")
    _keep_other(path, {key: value for key, value in result.items() if key not in {*agent[1], "baselines"}})
    result |= {"origin": origin()}
    write_json(path, result)
    if args.json:
        with output(args.json) as temporary:
            write_json(temporary, result)
    with Atomic(stage.path(f"{name}.png")) as temporary:
        save_histogram(temporary, f"{game.name}, {args.world}, {args.episodes} episodes", measured)
    stage.log(
        result=name,
        world=args.world,
        split=args.split,
        **{k: agent[1][k] for k in ("mean", "std", "interval")},
        episodes=args.episodes,
    )
    files = ", ".join([path, *filter(None, [args.json])])
    print(f"wrote {files} and the histogram {stage.path(name + '.png')}", file=sys.stderr)


def _keep_other(path, made_by):
    """Rename the result in `path`, and its histogram, if it was not made by the agent and the settings `made_by`."""
    if not os.path.exists(path):
        return
    before = read_json(path, dict)
    if any(before.get(name) != value for name, value in made_by.items()):
        (base, _), other = os.path.splitext(path), digest(path)[:8]
        for extension in (".json", ".png"):
            if os.path.exists(base + extension):
                os.replace(base + extension, f"{base}-before-{other}{extension}")


def _decoded(vae, coded):
    """The pictures (T,64,64,3) of T latent vectors; one at a time they take five times as long."""
    return np.concatenate([vae.pictures(np.array(coded[i : i + ROWS])) for i in range(0, len(coded), ROWS)])


def episode_pictures(world, vae, seed, max_steps):
    """(T,64,64,3) uint8, the decoded pictures of a dream, or in the real world (T,64,128,3), V's reconstructions on the right.

    The controller of `world`, a RealWorld or a DreamWorld, plays.
    """
    if isinstance(world, DreamWorld):
        return _decoded(vae, [z[0] for z in watch_dreams(world, [seed], max_steps)])
    seen, coded = [], []

    def watch(episode, frames, z, actions, rewards, dones):
        seen.append(frames[0])
        coded.append(z[0])

    world.rollout(world.controller.params, [seed], max_steps, watch=watch)
    return np.concatenate([seen, _decoded(vae, coded)], axis=2)


def _film(game, args, world, seed):
    vae = world.agent.vae if args.world == "real" else load_vision(args.run_dir, game)
    pictures = episode_pictures(world, vae, seed, args.max_steps)
    write_film(args.video, pictures, game.frames_per_second)
    print(f"wrote {args.video}: {len(pictures)} steps", file=sys.stderr)
