"""The article's iterative procedure: round after round, in runs/GAME/rounds/NN/.   python iterate.py GAME --iterations 20

In each round:

1. The last round's agent plays the real game, with a share of random actions, and is recorded. In the first round the random
   policy plays alone.
2. V and M are trained further, from the last round's weights, on all recordings so far. At least half of the episodes in each
   pass are new. Once a round lowers V's held-out loss by less than --vae-min-gain, the V before it is kept for all later
   rounds; with 1 the first V is. --start RUN_DIR begins with V and M of an earlier run.
3. C is searched in M's dream twice, from zeros and from the last round's C. The one with the better score in a few real
   episodes is kept; in the first round there is only the search from zeros.
4. C is scored in further real episodes and dreams. Nothing is trained on these scores or chosen by them.

Each round is a run directory: pass it to evaluate.py and probe.py as --run-dir, or to extract.py as --agent or --with.
rounds.jsonl has a row for each round. Run the command again to resume.
"""

import json
import os
import shutil
import subprocess
import sys
import time

from world_models import evaluate, extract, train
from world_models.config import UserError
from world_models.env.record import link_file, linked, list_episodes
from world_models.job import workers
from world_models.job.command import CommandLine, as_options, module_environment
from world_models.job.machine import load_tensorflow
from world_models.job.rundir import Atomic, digest, need, read_json, read_log, read_rounds, told, world_keywords, write_json

DREAMS = 128  # in which the chosen C is scored, beside the real test episodes
SEARCHES = "zero", "last"  # what C's searches start from: zeros, and the last round's C


def main(argv=None):
    environment = module_environment()  # before this process sets its number of threads in it
    command = CommandLine(__doc__, "record", "vae", "mirror", "rnn", "dream", "controller", rounds=True)
    workers.add_option(command)
    add = command.add
    add("--iterations", type=int, default=20, help="rounds (default: 20)")
    add("--start", metavar="RUN_DIR", help="the first round's V and M go on from those of this run, such as pretrained/GAME")
    add("--explore", type=float, default=0.3, help="share of steps that the random policy takes over (default: 0.3)")
    add(
        "--curiosity",
        type=float,
        metavar="BETA",
        help="in the recorded episodes, search for the return + BETA x M's surprise in nats per latent dimension",
    )
    add("--gain", action="store_true", help="with --curiosity: surprise is what M has gained on the round before, not its loss")
    add("--validation", type=int, default=4, help="real episodes by which a round's C is chosen (default: 4)")
    add("--test", type=int, default=32, help="real episodes in which the chosen C is scored (default: 32)")
    add(
        "--stop-at",
        type=float,
        metavar="SCORE",
        help="stop after a round whose C reaches this mean score in its --validation episodes",
    )
    command.add_world_options()
    game, args = command.parse(argv)
    if not game.dream_rewards:
        raise UserError(f"the dream of {game.name} has no reward to learn from: C cannot be searched there")
    for name in ("iterations", "validation", "test"):
        if getattr(args, name) < 1:
            raise UserError(f"--{name} is {getattr(args, name)}: give 1 or more")
    if _seed(args, args.iterations) >= 2**32:
        raise UserError(f"--seed is {args.seed}, and a round's is 1000 times as large: give a number below {2**32 // 1000}")
    if args.gain and args.curiosity is None:
        raise UserError("--gain says what is surprising, and without --curiosity nothing asks: give --curiosity BETA too")
    if args.start:
        for name in ("vae", "rnn"):
            need(args.start, name, f"{name}.keras", game.name)
    if not 0 <= args.explore <= 1:
        raise UserError(f"--explore is {args.explore}: give a share between 0 and 1")
    pool = workers.start(args.num_worker, game.controller_population, "candidates in a generation")
    load_tensorflow(1, lanes=True)
    workers.shared = pool  # for the stages that run in this process
    try:
        iterate(game, args, pool, environment)
    finally:
        workers.shared = None


def iterate(game, args, pool, environment):
    """Play the rounds that are missing, up to --iterations or --stop-at."""
    for number in range(1, args.iterations + 1):
        round_ = Round(game, args, pool, environment, number)
        row = pool.broadcast(round_.row())
        if row is None:
            round_.play()
            row = pool.broadcast(round_.row())
        if args.stop_at is not None and row["validation"] >= args.stop_at:
            break


class Round:
    """One round, and its folder rounds/NN/."""

    def __init__(self, game, args, pool, environment, number):
        self.game, self.args, self.pool, self.environment, self.number = game, args, pool, environment, number
        self.dir, self.before, self.begins = self.earlier(0), self.earlier(1), number == 1
        self.models = args.start if self.begins else self.before  # the run from whose V and M this round's go on, if any

    def earlier(self, back):
        """The folder of the round `back` rounds before this one."""
        return os.path.join(self.args.run_dir, "rounds", f"{self.number - back:02d}")

    def path(self, *names):
        return os.path.join(self.dir, *names)

    def row(self):
        """This round's row of rounds.jsonl, None before the round is done."""
        return next((row for row in read_rounds(self.args.run_dir) if row["round"] == self.number), None)

    def play(self):
        """Run the stages that are not finished, and write the row."""
        began, game, args = time.time(), self.game, self.args
        options = as_options(game, "record") + self._world()
        if not self.begins:
            options += ["--agent", self.before, "--with", self.before, "--explore", str(args.explore)]
            options += ["--curiosity", str(args.curiosity)] if args.curiosity is not None else []
            options += ["--gained-on", self.earlier(2)] if args.gain and self.number > 2 else []
        extract.main(self._command(*options))
        if not self.pool.broadcast(os.path.exists(self.path("controller-zero"))):
            self.pool.alone(self._train_models)
        for search in SEARCHES[: 1 if self.begins else 2]:
            options = as_options(game, "controller", "dream") + ["--world", "dream", "--name", search]
            options += ["--start", os.path.join(self.before, "controller", "best.json")] if search == "last" else []
            train.main(self._command(*options))
            self._evaluate("real", "validation", args.validation, search)
        self.pool.together(lambda: self.pool.rank or self._choose())
        self._evaluate("dream", "test", DREAMS)
        self._evaluate("real", "test", args.test)
        self.pool.together(lambda: self.pool.rank or self._write(began))

    def _command(self, *options):
        """The command line of a stage. Each round has its own seed."""
        seed = str(_seed(self.args, self.number))
        return [self.game.name, "--scale", self.args.scale, "--run-dir", self.dir, "--seed", seed, *options]

    def _world(self):
        """The real world's options, as words of a command line: those given, else those of the run of --start."""
        keywords = world_keywords(self.game, self.args, self.args.start)
        return [word for name, value in keywords.items() for word in (f"--{name}", value)]

    def _evaluate(self, world, split, episodes, search=None):
        """Score C, that of `search` or the chosen one, in `world`. All rounds have the same test episodes."""
        name = "-".join([world, split, *([search] if search else [])])
        if not self.pool.broadcast(os.path.exists(self.path("evaluate", f"{name}.json"))):
            options = ["--world", world, "--split", split, "--episodes", str(episodes)]
            options += ["--name", search] if search else []
            seed = ["--seed", str(self.args.seed)] if split == "test" else []
            evaluate.main(self._command(*options, *seed))

    def _train_models(self):
        """Train V, encode the series and train M, each in a separate process with all cores."""
        game, models = self.game, self.models
        on = [] if self.begins else ["--half-new"]
        start = {name: ["--start", os.path.join(models, name, f"{name}.keras")] if models else [] for name in ("vae", "rnn")}
        if self._v_stays():
            self._keep_v()
        else:
            self._run("vae.train", *as_options(game, "vae", "mirror"), *on, *start["vae"])
            if models and _gained(self.path("vae")) < game.vae_min_gain:
                self._keep_v()
        self._run("rnn.series", *as_options(game, "mirror"), *([] if self.begins else ["--known", self.before]))
        self._run("rnn.train", *as_options(game, "rnn"), *on, *start["rnn"])

    def _v_stays(self):
        """Whether V is no longer trained: the last round kept the V that it began with, or no gain can be enough."""
        if self.models and self.game.vae_min_gain >= 1:
            return True
        before = self.earlier(2) if self.number > 2 else self.args.start  # where the last round's V began
        if self.begins or not before:
            return False
        return len({digest(os.path.join(run_dir, "vae", "vae.keras")) for run_dir in (before, self.before)}) == 1

    def _keep_v(self):
        os.makedirs(self.path("vae"), exist_ok=True)
        link_file(os.path.join(self.models, "vae", "vae.keras"), self.path("vae", "vae.keras"))

    def _run(self, module, *options):
        command = [sys.executable, "-m", f"world_models.{module}", *self._command(*options)]
        status = subprocess.run(command, env=self.environment).returncode
        if status:
            raise UserError(
                f"round {self.number} stopped in {module}, which says why above; the same command goes on from there"
            )

    def _choose(self):
        """Copy the search with the better score in the real validation episodes to the round's controller/."""
        scores = {search: score for search in SEARCHES if (score := self._validated(search)) is not None}
        best = max(scores, key=scores.get)
        with Atomic(self.path("controller")) as temporary:
            shutil.rmtree(self.path("controller"), ignore_errors=True)
            shutil.copytree(self.path(f"controller-{best}"), temporary, ignore=shutil.ignore_patterns(".lock"))
        write_json(self.path("controller", "chosen.json"), {"search": best, "validation": scores})

    def _validated(self, search):
        path = self.path("evaluate", f"real-validation-{search}.json")
        return read_json(path, {"mean": float})["mean"] if os.path.exists(path) else None

    def _write(self, began):
        from world_models.vae.frames import episode_length

        chosen = read_json(self.path("controller", "chosen.json"), {"search": str, "validation": dict})
        scored = {"mean": float, "interval": [float]}
        dream, test = (read_json(self.path("evaluate", f"{world}-test.json"), scored) for world in ("dream", "real"))
        rows = read_rounds(self.args.run_dir)
        recorded = (path for path in list_episodes(self.path("record")) if not linked(os.path.basename(path)))
        frames = sum(episode_length(path, self.game.action_size) for path in recorded)
        for search in chosen["validation"]:
            frames += sum(read_json(self.path("evaluate", f"real-validation-{search}.json"), {"steps": [int]})["steps"])
        losses = read_log(self.path("rnn"), "epoch")[-1]
        row = {
            "round": self.number,
            "real_frames": frames + (rows[-1]["real_frames"] if rows else 0),
            "dream": dream["mean"],
            "real": test["mean"],
            "real_low": test["interval"][0],
            "real_high": test["interval"][1],
            "validation": chosen["validation"][chosen["search"]],
            "search": chosen["search"],
            **{name.removeprefix("val_"): value for name, value in losses.items() if name.startswith("val_")},
            "hours": round((time.time() - began) / 3600, 4),
        }
        with Atomic(os.path.join(self.args.run_dir, "rounds", "rounds.jsonl")) as temporary, open(temporary, "w") as file:
            file.writelines(json.dumps(one) + "\n" for one in [*rows, row])
        print(told(row), flush=True)


def _seed(args, number):
    """The seed of the round `number`."""
    return args.seed * 1000 + number


def _gained(folder):
    """By what share a training of V with --start lowered the held-out loss."""
    losses = [row["val_loss"] for row in read_log(folder, "val_loss")]
    return 1 - losses[-1] / losses[0]


if __name__ == "__main__":
    workers.run_script(main)
