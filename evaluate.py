"""Score a trained agent over fixed seeds, in the real world or in a dream, beside the published figures.

Writes runs/GAME/evaluate/WORLD-SPLIT.json and .png (a histogram). Choose between agents on --split validation; the default
split, test, has seeds that chose nothing.
"""

import os
import sys
from dataclasses import replace

import numpy as np

from config import GAMES, UserError
from job import workers
from job.command import CommandLine
from job.machine import load_tensorflow
from job.rundir import Atomic, Stage, add_name_option, search_folder, settings_in, settle_precision, world_keywords, write_json
from job.seeds import TEST, VALIDATION, episode_seeds
from original.convert import add_legacy_options, import_folder

ROWS = 16  # episodes that are stepped together; always this many, so that an episode's numbers never change
ENLARGED = 4  # a pixel of the video for each of these, squared


def main(argv=None):
    game, args = _parse(argv)
    pool = workers.start(args.num_worker, -(-args.episodes // ROWS), f"batches of {ROWS} episodes")
    load_tensorflow(args.threads, lanes=args.world == "dream")
    settle_precision(args)
    args.precision = pool.broadcast(args.precision)  # hosts may have different processors
    if args.legacy:
        pool.together(lambda: pool.rank or import_folder(game, args.legacy, args.run_dir, args.controller, args.world))
    from controller.report import table

    keywords = world_keywords(game, args, args.run_dir) if args.world == "real" else {}
    world = pool.together(lambda: _open(game, args, keywords))
    settings = {"world": args.world, "split": args.split, "episodes": args.episodes, "run": args.run_dir, **keywords}
    settings |= {"precision": args.precision}
    settings |= {"temperature": game.dream_temperature} if args.world == "dream" else {}
    with pool.stage(Stage(args.output, "evaluate", settings, args.seed, compare=False)) as stage:
        measured, seeds = _measure(game, args, keywords, world, pool)
        if pool.rank == 0:
            print(table(game, args.world, measured))
            if _is_judged(game, args):
                print(_told(game, measured["this agent"]))
            _write(game, args, stage, settings, measured, seeds)
            if args.video:
                _film(game, args, world, seeds[0])


def _parse(argv):
    command_line = CommandLine(__doc__, "dream")
    workers.add_option(command_line)
    add = command_line.add
    add("--episodes", type=int, default=100, help="how many (default: 100)")
    add("--world", choices=("real", "dream"), default="real", help="where (default: real)")
    add("--split", choices=("test", "validation"), default="test", help="which seeds (default: test)")
    add("--pretrained", action="store_true", help="the agent that comes with this repository, instead of --run-dir's")
    add("--baseline", action="store_true", help="also play the random policies on the same seeds (real world only)")
    add("--max-steps", type=int, help="real steps after which an episode is cut (default: the game's)")
    add_name_option(command_line)
    add(
        "--video",
        metavar="FILE",
        help="film an episode, to .mp4 or .webp: the frame and V's reconstruction, or the decoded dream",
    )
    add("--json", metavar="FILE", help="also write the results here")
    add("--threads", type=int, default=1, help="TensorFlow's threads in each worker (default: 1)")
    command_line.add_world_options()
    command_line.add_precision_option("what V encodes in, and M dreams in")
    add_legacy_options(command_line, "the controller to play, in the format of best.json, instead of the best one")
    game, args = command_line.parse(argv)
    if args.legacy and args.pretrained:
        raise UserError("--legacy and --pretrained are two agents: give one of them")
    if args.name and (args.legacy or args.controller):
        raise UserError("--name, --legacy and --controller choose different controllers: leave out --name")
    if args.episodes < 1:
        raise UserError(f"--episodes is {args.episodes}: give 1 or more")
    if args.max_steps is not None and args.max_steps < 1:
        raise UserError(f"--max-steps is {args.max_steps}: give 1 or more")
    if args.baseline and args.world == "dream":
        raise UserError("--baseline plays in the real world: leave out --world dream")
    args.output = args.run_dir
    if args.pretrained:
        args.run_dir = os.path.join("pretrained", game.name)
    if args.dream_temperature is None:  # that in which C learned
        learned = settings_in(os.path.join(args.run_dir, search_folder(args.name)))
        game = replace(game, dream_temperature=learned.get("dream_temperature", game.dream_temperature))
    if args.max_steps is None:
        args.max_steps = game.max_steps if args.world == "real" else game.dream_max_steps
    if _is_judged(game, args):
        if game.judge is None:
            raise UserError(f"the dream of {game.name} has no reward, and nobody judges it: leave out --world dream")
        if args.max_steps < game.judge.least_steps:
            least = game.judge.least_steps
            raise UserError(f"--max-steps is {args.max_steps}: a dream of {game.name} needs {least} to be judged, give as many")
    _prepare_files(args)
    return game, args


def _prepare_files(args):
    """Make the folders of --json and --video before anything is played. Raises UserError for a name that cannot be."""
    from controller.report import VIDEOS

    if args.video and os.path.splitext(args.video)[1] not in VIDEOS:
        raise UserError(f"--video is {args.video}: give a name that ends in {' or '.join(VIDEOS)}")
    for path in filter(None, (args.json, args.video)):
        if os.path.isdir(path):
            raise UserError(f"{path} is a folder: give the name of a file")
        try:
            os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        except OSError as error:
            raise UserError(f"{path} cannot be written ({error.strerror}): give another name") from None


def _open(game, args, keywords):
    from controller.agent import load_controller
    from controller.rollout import open_world

    stage = search_folder(args.name) if args.name else "legacy" if args.legacy else None
    mode, params = load_controller(args.run_dir, game, stage, None if args.legacy else args.controller)
    models = args.world, args.run_dir, game, ROWS, mode, game.dream_temperature
    world = open_world(*models, args.threads, args.precision, **keywords)
    world.controller.set_params(params)
    return world


def _measure(game, args, keywords, world, pool):
    """({name: summary}, the episodes' seeds) of the agent and, where asked for, the random policies."""
    import env
    from controller.report import summary
    from controller.rollout import run_episodes
    from env.policies import play

    purpose = {"test": TEST, "validation": VALIDATION}[args.split]
    seeds = episode_seeds(args.episodes, args.seed, purpose)
    if _is_judged(game, args):
        return {"this agent": _judge(game, args, world, pool, seeds)}, seeds
    measured = {"this agent": summary(*run_episodes(pool, world, world.controller.params, seeds, args.max_steps))}
    if args.baseline:
        bare = env.make(game, **keywords)
        for name, (policy, recorded) in _random_policies(game).items():

            def score(seed, policy=policy, recorded=recorded):
                rewards = play(bare, policy(recorded, np.random.default_rng((seed, 1))), seed, args.max_steps)[2]
                return rewards.sum(), len(rewards)

            measured[f"random, {name}"] = summary(*zip(*pool.map(score, seeds), strict=True))
        bare.close()
    return measured, seeds


def _is_judged(game, args):
    """A dream without a reward is scored by what it looks like."""
    return args.world == "dream" and not game.dream_rewards


def _judge(game, args, world, pool, seeds):
    """The summary of dreams that the game's judge scores by their pictures, with the share of good frames of each."""
    from controller.report import summary
    from controller.rollout import watch_dreams
    from rnn.world_model import load_vision

    vae, judge = load_vision(args.run_dir, game), game.judge

    def score(part):
        rows = np.resize(part, ROWS)  # the batch is full, always
        seen = [judge.see(vae.pictures(z)) for z in watch_dreams(world, rows, args.max_steps)]
        return [(*row, len(seen)) for row in zip(*judge.score(seen), strict=True)][: len(part)]

    results = pool.map(score, [seeds[i : i + ROWS] for i in range(0, len(seeds), ROWS)])
    scores, shares, steps = zip(*sum(results, []), strict=True)
    return summary(scores, steps) | {judge.share: [float(share) for share in shares]}


def _told(game, judged):
    told = game.judge.told.format(share=np.mean(judged[game.judge.share]))
    return f"A dream of this game has no reward: {told}, as V's decoder shows them (of at most {max(judged['steps'])} steps)."


def _random_policies(game):
    """{name: (policy, Game)}: the two published ones, and the one that recorded at this scale where that is another."""
    from env.policies import extraction_policy, uniform_policy

    published = GAMES[game.name]
    recorded = "as published to record" if published.published else "as recorded"
    policies = {recorded: (extraction_policy, published), "fresh action each step": (uniform_policy, published)}
    if game.record_hold != published.record_hold:
        policies["as recorded at this scale"] = extraction_policy, game
    return policies


def _write(game, args, stage, settings, measured, seeds):
    from controller.report import save_histogram

    (agent, *baselines) = measured.items()
    result = {"game": game.name, **settings, "seeds": seeds, **agent[1], "baselines": dict(baselines)}
    name = "-".join([args.world, args.split] + ([args.name] if args.name else []))
    files = [stage.path(f"{name}.json")] + ([args.json] if args.json else [])
    for path in files:
        write_json(path, result)
    with Atomic(stage.path(f"{name}.png")) as temporary:
        save_histogram(temporary, f"{game.name}, {args.world}, {args.episodes} episodes", measured)
    stage.log(
        world=args.world, split=args.split, **{k: agent[1][k] for k in ("mean", "std", "interval")}, episodes=args.episodes
    )
    print(f"wrote {', '.join(files)} and the histogram {stage.path(name + '.png')}", file=sys.stderr)


def _film(game, args, world, seed):
    """One episode: the frame and V's reconstruction beside it; in the dream, the decoded dream."""
    from controller.report import write_video
    from controller.rollout import watch_dreams
    from rnn.world_model import load_vision

    if args.world == "real":
        pictures = []

        def watch(episode, frames, z, actions, rewards, dones):
            decoded = world.agent.vae.pictures(z[:1])[0]
            pictures.append(np.concatenate([frames[0], decoded], axis=1))

        world.rollout(world.controller.params, [seed], args.max_steps, watch=watch)
    else:
        vae = load_vision(args.run_dir, game)
        pictures = [vae.pictures(z)[0] for z in watch_dreams(world, [seed], args.max_steps)]
    pictures = [picture.repeat(ENLARGED, axis=0).repeat(ENLARGED, axis=1) for picture in pictures]
    with Atomic(args.video) as temporary:
        write_video(temporary, pictures, game.frames_per_second)
    print(f"wrote {args.video}: {len(pictures)} steps", file=sys.stderr)


if __name__ == "__main__":
    workers.run_script(main)
