"""All speeds of this machine in one table: python -m bench [--json FILE]

Runs bench.worlds, bench.dreams and bench.trainings, each in a process of its own, in some 15 minutes. Then it says how fast
each part is beside what one would pick instead, what share of the machine's matrix products it reaches, and how long the
published search would take.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile

from world_models.bench.agent import PROCESSES
from world_models.bench.measure import report
from world_models.bench.trainings import PLAIN
from world_models.bench.worlds import V0, V3
from world_models.config import GAMES, UserError
from world_models.job.command import module_environment, run_script
from world_models.job.outputs import check_output

BENCHMARKS = "worlds", "dreams", "trainings"


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", metavar="FILE", help="also write the numbers here")
    args = parser.parse_args(argv)
    check_output("--json", args.json)
    numbers = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in BENCHMARKS:
            path = os.path.join(folder, f"{name}.json")
            command = [sys.executable, "-m", f"world_models.bench.{name}", "--json", path]
            if subprocess.run(command, env=module_environment()).returncode:
                raise UserError(f"bench.{name} failed: see above")
            with open(path) as file:
                numbers[name] = json.load(file)
            print()
    print(summary(numbers))
    report(args.json, numbers)


def summary(numbers):
    """The table of all parts, and the published search's time, as text. numbers: {benchmark: what it wrote}."""
    worlds, dreams = numbers["worlds"], numbers["dreams"]
    steps = worlds["env_steps_per_s"]
    rows = [
        ("CarRacing, look v0", steps[V0], worlds["env_vs_gymnasium"], "Gymnasium", None),
        ("CarRacing, look v3", steps[V3], worlds["env_v3_vs_gymnasium"], "Gymnasium", None),
        ("whole agents in CarRacing", worlds["agent_steps_per_s"], worlds["agent_vs_plain_loop"], "a plain loop", None),
        ("Doom's dreams", dreams["agent_steps_per_s"], dreams["vs_single_env"], "single environments", dreams["share_of_peak"]),
    ]
    for name, unit in (("V", "frames"), ("M", "steps")):
        trained = numbers["trainings"][name]
        rows += [
            (f"{name}'s training, {unit}, {title}", trained["per_s"][title], trained["vs_plain"][title], "plain Keras", share)
            for title, share in trained["share_of_peak"].items()
            if title != PLAIN
        ]
    rows += [
        (f"recording {game}, frames", worlds[name], None, None, None)
        for game, name in (("CarRacing", "extract_frames_per_s"), ("Doom", "extract_doom_frames_per_s"))
    ]
    lines = [f"{'in all':52} {'a second':>12}   share of the products' peak   times"]
    for name, rate, times, other, share in rows:
        line = f"  {name:50} {rate:12,.0f}   {'' if share is None else format(share, '.2f'):>26}"
        lines.append(line + (f"   {times:.1f} {other}" if times else ""))
    return "\n".join([*lines, search_time(worlds["agent_steps_per_s"])])


def search_time(steps_per_s):
    """How long the published search of the car takes with that many steps a second in PROCESSES processes, as text."""
    game = GAMES["carracing"]
    steps = game.controller_population * game.controller_episodes * game.controller_max_steps
    evaluation = game.controller_eval_episodes * game.max_steps / game.controller_eval_steps  # of the CMA mean
    hours = (steps + evaluation) / steps_per_s * PROCESSES / 3600
    return (
        f"a generation of the published protocol takes {hours:.3f} core-hours with its share of the evaluations, "
        f"and {game.controller_generations:,} generations {hours * game.controller_generations:,.0f}"
    )


if __name__ == "__main__":
    run_script(main)
