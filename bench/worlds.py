"""The speed of the real games: python -m bench.worlds [--json FILE]

CarRacing against Gymnasium's (and EnvPool's, where that is installed), the parts of a step's time, whole agents against a
straightforward loop, and the frames that extract.py records per second. The alternatives of a table run interleaved, with one
thread a process.
"""

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

from world_models.bench.measure import RUNS, rates, ratio, report, table
from world_models.config import GAMES, UserError
from world_models.job.command import run_script
from world_models.job.machine import cores, set_threads
from world_models.job.outputs import check_output

GYMNASIUM, V0, V3, ENVPOOL = "Gymnasium CarRacing-v3", "CarRacing, v0 look", "CarRacing, v3 look", "EnvPool CarRacing-v2"


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", metavar="FILE", help="also write the numbers there")
    parser.add_argument("--runs", type=int, default=RUNS, help=f"measurements of each alternative (default: {RUNS})")
    parser.add_argument("--steps", type=int, default=1000, help="steps of an episode (default: 1000)")
    parser.add_argument("--episodes", type=int, default=12, help="episodes that an extraction records (default: 12)")
    args = parser.parse_args(argv)
    check_output("--json", args.json)
    if min(args.runs, args.steps) < 1 or args.episodes < 3:
        raise UserError("the benchmark needs at least 1 run, 1 step and 3 episodes: give more")
    set_threads(1)
    numbers = {}
    for part in PARTS:
        numbers |= part(args)
        print()
    report(args.json, numbers, args.runs)


def _actions(count):
    """Actions (count, 3) float32 that keep the car moving and swerving."""
    import numpy as np

    rng = np.random.default_rng(0)
    steer = np.cumsum(rng.normal(0, 0.1, count)).clip(-1, 1)
    return np.stack([steer, rng.uniform(0, 0.6, count), rng.uniform(0, 0.1, count)], axis=1).astype(np.float32)


def _episodes(world, actions):
    """A function for `rates`: plays one episode, with reset and track. The seeds are 0, 1, ... for each environment."""
    seeds = itertools.count()

    def episode():
        world.reset(seed=next(seeds))
        for action in actions:
            world.step(action)
        return len(actions)

    return episode


def _envpool(actions):
    """The same with one environment and one thread of EnvPool; None where it is not installed."""
    try:
        import envpool
    except ImportError:
        return None
    world = envpool.make("CarRacing-v2", env_type="gymnasium", num_envs=1, num_threads=1, seed=0)

    def episode():
        world.reset()
        for action in actions:
            world.step(action[None])
        return len(actions)

    return episode


def steps(args):
    """CarRacing's steps per second, in one process, resets included."""
    import gymnasium

    from world_models import env

    actions = _actions(args.steps)
    alternatives = {
        GYMNASIUM: _episodes(gymnasium.make("CarRacing-v3").unwrapped, actions),
        V0: _episodes(env.make(GAMES["carracing"]), actions),
        V3: _episodes(env.make(GAMES["carracing"], look="v3"), actions),
    }
    pool = _envpool(actions)
    if pool:
        alternatives[ENVPOOL] = pool
    measured = rates(alternatives, args.runs)
    print(table(f"one process, episodes of {args.steps} steps with their resets", measured, "steps/s", GYMNASIUM))
    if not pool:
        print("  EnvPool is not installed: left out")
    return {
        "env_steps_per_s": {name: statistics.median(values) for name, values in measured.items()},
        "env_vs_gymnasium": ratio(measured, V0, GYMNASIUM),
        "env_v3_vs_gymnasium": ratio(measured, V3, GYMNASIUM),
        "env_vs_envpool": ratio(measured, V0, ENVPOOL) if pool else None,
    }


def _timed_parts(world, actions):
    """{part of a step: seconds} of one episode of CarRacing, in the order of its step()."""
    from world_models.env.car_racing import FPS, ITERATIONS

    spent = dict.fromkeys(("car's physics", "Box2D", "picture", "resize"), 0.0)
    clock = time.perf_counter
    for action in actions.tolist():
        times = [clock()]
        world.physics.control(*action)
        world.physics.step(1 / FPS)
        times.append(clock())
        world.world.Step(1 / FPS, *ITERATIONS)
        world.t += 1 / FPS
        times.append(clock())
        world.physics.read()
        picture = world._look.picture(world)
        times.append(clock())
        world._preprocess(picture)
        times.append(clock())
        for part, begin, end in zip(spent, times, times[1:], strict=False):
            spent[part] += end - begin
    return spent


def step_parts(args):
    """The time of each part of a step, in microseconds."""
    from world_models import env

    actions, results = _actions(args.steps), {}
    clock = time.perf_counter
    for look in ("v0", "v3"):
        world = env.make(GAMES["carracing"], look=look)
        runs = []
        for seed in range(args.runs):
            begin = clock()
            world.reset(seed=seed)
            reset = clock() - begin
            parts = _timed_parts(world, actions)
            world.reset(seed=seed)
            begin = clock()
            for action in actions:
                world.step(action)
            rest = clock() - begin - sum(parts.values())
            parts |= {"the rest of step()": rest, "reset, for each step of the episode": reset}
            runs.append({part: seconds / len(actions) * 1e6 for part, seconds in parts.items()})
        results[look] = {part: statistics.median(run[part] for run in runs) for part in runs[0]}
    print(f"{'where the time goes':52} {'v0 look':>14} {'v3 look':>14}   microseconds a step")
    for part in results["v0"]:
        print(f"  {part:50} {results['v0'][part]:14.1f} {results['v3'][part]:14.1f}")
    return {"step_microseconds": results}


def agents(args):
    """Steps per second of whole agents (V, M and C) in CarRacing; two processes, resets included."""
    from world_models.bench.agent import OURS, PLAIN_LOOP, PROCESSES, alternatives

    players = alternatives(args.steps)
    measured = rates(players, args.runs)
    for player in players.values():
        player.close()
    print(table(f"whole agents, {PROCESSES} processes, episodes of {args.steps} steps", measured, "steps/s", PLAIN_LOOP))
    return {
        "agent_steps_per_s": statistics.median(measured[OURS]),
        "agent_vs_plain_loop": ratio(measured, OURS, PLAIN_LOOP),
        "agent_steps_per_s_of_all": {name: statistics.median(values) for name, values in measured.items()},
    }


def _extract(game, episodes, workers):
    """(frames, seconds) of extract.py, recording `episodes` in a temporary folder."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "extract.py", game, "--episodes", str(episodes), "-n", str(workers), "--run-dir", folder]
        # It starts itself under the mpirun of this Python's environment, which need not be active.
        path = os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", "")])
        begin = time.perf_counter()
        done = subprocess.run(command, env={**os.environ, "PATH": path}, capture_output=True, text=True)
        seconds = time.perf_counter() - begin
        if done.returncode:
            raise UserError(f"extract.py {game} failed: {done.stderr.strip().splitlines()[-1]}")
        with open(os.path.join(folder, "record", "log.jsonl")) as file:
            return json.loads(file.readline())["frames"], seconds


def extraction(args):
    """Frames per second that extract.py records: its random policy, compressed to disk, by two workers.

    The start-up time is excluded: a run of all episodes minus a run of a quarter of them.
    """
    workers = min(2, cores())
    few = max(workers, args.episodes // 4)

    def recording(game):
        def episodes():
            (frames, seconds), (few_frames, few_seconds) = (_extract(game, count, workers) for count in (args.episodes, few))
            return frames - few_frames, seconds - few_seconds

        return episodes

    games = {"carracing": "extract_frames_per_s", "doom": "extract_doom_frames_per_s"}
    measured = rates({f"extract.py {game}": recording(game) for game in games}, args.runs, warm_up=False)
    print(table(f"recording, {workers} workers", measured, "frames/s"))
    return {name: statistics.median(values) for name, values in zip(games.values(), measured.values(), strict=True)}


# Each prints its table and returns its numbers for --json.
PARTS = (steps, step_parts, agents, extraction)

if __name__ == "__main__":
    run_script(main)
