"""Disturb each stage at random moments, in each way, until it ends; compare its outputs with those of an undisturbed run.

    python -m bench.faults [--trials 20] [--stages record-doom V ...] [--json FILE]

All is at the smoke scale, with two workers, on Linux. A trial takes about a quarter of a minute.
"""

import argparse
import contextlib
import glob
import hashlib
import os
import random
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
import zipfile
from pathlib import Path

from world_models.config import UserError
from world_models.job.command import Parser, run_script
from world_models.job.outputs import check_output
from world_models.job.rundir import HERE, read_json, write_json
from world_models.job.workers import LAUNCHED

# {name: (command, the folder that it writes in a run directory, the folders that it reads)}
STAGES = {
    "record-doom": (("extract.py", "doom", "--episodes", "12", "-n", "2"), "record", ()),
    "record-car": (("extract.py", "carracing", "--episodes", "12", "-n", "2"), "record", ()),
    "V": (("-m", "vae.train", "doom"), "vae", ("record",)),
    "encode": (("-m", "rnn.series", "doom"), "series", ("record", "vae")),
    "M": (("-m", "rnn.train", "doom", "--epochs", "20"), "rnn", ("vae", "series")),
    "C-dream": (("train.py", "doom", "--generations", "6", "-n", "2"), "controller", ("vae", "rnn")),
    "C-real": (("train.py", "doom", "--world", "real", "--generations", "3", "-n", "2"), "controller", ("vae", "rnn")),
}
FAULTS = ("SIGTERM to the command", "SIGINT to all", "SIGKILL of the command", "SIGKILL of all", "SIGKILL of a worker")
FAULTS += ("SIGKILL of an engine",)
NOT_COMPARED = ("config.json", "log.jsonl", ".lock", "tensorboard", "hist.json", "hist_best.json", "checkpoint")  # have times


class Job:
    """A command in a session of its own. All of its processes are known by a variable in their environment.

    stderr: as subprocess.Popen has it. `ended` returns what came through a pipe.
    """

    def __init__(self, command, environment=None, stderr=subprocess.PIPE):
        self.mark = f"MARK={uuid.uuid4()}"
        name, _, value = self.mark.partition("=")
        self.process = subprocess.Popen(
            [sys.executable, *map(str, command)],
            cwd=HERE,
            env={**(environment or os.environ), name: value},
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            text=True,
            start_new_session=True,
            preexec_fn=_heed,
        )

    def pids(self):
        """Those of all its processes that have not ended."""
        found = []
        for path in glob.glob("/proc/[0-9]*/environ"):
            try:
                marked = self.mark.encode() in Path(path).read_bytes()
                status = Path(path).with_name("stat").read_text().rsplit(")", 1)[1].split()[0]
            except OSError:
                continue
            if marked and status != "Z":
                found.append(int(path.split("/")[2]))
        return found

    def ranks(self):
        """Those of its MPI ranks, which are Python with the rank in their environment."""
        return [pid for pid in self.pids() if _launched(pid) and b"python" in _program(pid)]

    def engines(self):
        """Those of its games of Doom."""
        return [pid for pid in self.pids() if _program(pid).endswith(b"vizdoom")]

    def belongings(self):
        """The shared memory and the folders that its games have now."""
        found = set()
        for pid in self.pids():
            found |= set(re.findall(r"/dev/shm/ViZDoom\S+", _read(pid, "maps").decode()))
            found |= set(glob.glob(os.path.join(tempfile.gettempdir(), f"take-cover-{pid}-*")))
        return found

    def send(self, number, pids):
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def ended(self, seconds=60):
        """(exit status, its lines on stderr), after all of its processes have ended. Raises AssertionError if one does not."""
        told = (self.process.communicate(timeout=seconds)[1] or "").splitlines()
        until = time.time() + 20
        while self.pids() and time.time() < until:
            time.sleep(0.05)
        assert self.pids() == []
        return self.process.returncode, told

    def kill(self):
        self.send(signal.SIGKILL, self.pids())


def _read(pid, name):
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""  # it has ended


def _launched(pid):
    environment = _read(pid, "environ")
    return any(f"{name}=".encode() in environment for name in LAUNCHED)


def _program(pid):
    return _read(pid, "cmdline").split(b"\0")[0]


def _heed():
    """In the new process: no signal is ignored, as SIGINT is in what a shell runs in the background."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def main(argv=None):
    parser = Parser(description=__doc__, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=20, help="of each fault in each stage (default: 20)")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES), help="default: all")
    parser.add_argument("--seed", type=int, default=0, help="random seed of the moments (default: 0)")
    parser.add_argument("--json", metavar="FILE", help="also write the results here")
    args = parser.parse_args(argv)
    check_output("--json", args.json)
    if args.trials < 1:
        raise UserError(f"--trials is {args.trials}: give 1 or more")
    rng, rows = random.Random(args.seed), []
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        base = os.path.join(folder, "base")
        seconds = {}
        for stage in _in_order(args.stages):  # each reads what those before it wrote
            began = time.time()
            _finish(stage, _where(base, stage))
            seconds[stage] = time.time() - began
        print(f"{'stage':12} {'fault':24} trials  same  kept  status   seconds to end (median, most)  left behind", flush=True)
        for stage in args.stages:
            for fault in _faults(stage):
                trials = []
                while len(trials) < args.trials:
                    trials += _disturbed(stage, fault, args.trials - len(trials), base, folder, rng, seconds[stage])
                rows.append({"stage": stage, "fault": fault, **_summary(trials)})
                print(_line(rows[-1]), flush=True)
                if args.json:
                    write_json(args.json, rows, indent=1)


def _faults(stage):
    """The faults for which the stage has somebody."""
    command = STAGES[stage][0]
    workers, engines = "-n" in command, stage == "record-doom" or "real" in command
    return [fault for fault in FAULTS if (workers or "worker" not in fault) and (engines or "engine" not in fault)]


def _in_order(stages):
    """`stages`, and those whose outputs they read."""
    needed = {folder for stage in stages for folder in STAGES[stage][2]}
    for stage in reversed(STAGES):
        if STAGES[stage][1] in needed and not stage.startswith(("record-car", "C-")):
            needed |= set(STAGES[stage][2])
    return [stage for stage in STAGES if stage in stages or (STAGES[stage][1] in needed and stage != "record-car")]


def _where(base, stage):
    """The run directory for `stage` without a fault. Those that write the same folder do not share one."""
    return f"{base}-{stage}" if stage in ("record-car", "C-real") else base


def _command(stage, run_dir):
    return [*STAGES[stage][0], "--scale", "smoke", "--run-dir", run_dir]


def _finish(stage, run_dir):
    """Run the stage to its end."""
    if stage == "C-real":
        _link(run_dir.removesuffix("-C-real"), run_dir, STAGES[stage][2])
    done = subprocess.run([sys.executable, *_command(stage, run_dir)], cwd=HERE, capture_output=True, text=True)
    if done.returncode:
        raise AssertionError(f"{stage} ended with {done.returncode}: {done.stderr[-2000:]}")


def _link(base, run_dir, folders):
    for folder in folders:
        if not os.path.exists(os.path.join(run_dir, folder)):
            shutil.copytree(os.path.join(base, folder), os.path.join(run_dir, folder))


def _disturbed(stage, fault, most, base, folder, rng, seconds):
    """At most `most` trials of one run: it is started again after each, until it ends by itself.

    seconds: what the undisturbed stage takes.
    """
    run_dir, trials = os.path.join(folder, "trial"), []
    shutil.rmtree(run_dir, ignore_errors=True)
    _link(base, run_dir, STAGES[stage][2])
    while len(trials) < most:
        if not (trial := _trial(stage, fault, run_dir, rng.uniform(0.3, 1) * seconds)):
            break
        trials.append(trial)
    else:
        _finish(stage, run_dir)
    same = _digests(run_dir, stage) == _digests(_where(base, stage), stage)
    return [{"same": same, **trial} for trial in trials]


def _trial(stage, fault, run_dir, moment):
    """Disturb the stage `moment` seconds after its start. None where nobody is there; then it has ended by itself."""
    job = Job(_command(stage, run_dir))
    try:
        time.sleep(moment)
        whom = {"worker": job.ranks()[:1], "engine": job.engines()[:1], "all": job.pids()}.get(
            fault.split()[-1], [job.process.pid]
        )
        if not whom or job.process.poll() is not None:
            status, told = job.ended(600)
            assert status == 0, told[-20:]
            return None
        number, belongings = getattr(signal, fault.split()[0]), job.belongings()
        done = _done(run_dir, stage)
        job.send(number, whom)
        began = time.time()
        status, _ = job.ended(120)
        seconds = time.time() - began
    finally:
        job.kill()
    left = sum(os.path.exists(path) for path in belongings)
    return {"kept": _done(run_dir, stage) >= done, "status": status, "seconds": seconds, "left": left}


def _done(run_dir, stage):
    """How many units of the stage's work are on the disk: episodes, parts of a training, or generations."""
    folder = os.path.join(run_dir, STAGES[stage][1])
    history, note = (os.path.join(folder, name) for name in ("hist.json", "partial.json"))
    if os.path.exists(history):
        return len(read_json(history))
    checkpoints = [int(path.split("-")[-1][:6]) for path in glob.glob(os.path.join(folder, "checkpoint-*.h5"))]
    finished = 10**6 * bool(glob.glob(os.path.join(folder, "*.keras")) or glob.glob(os.path.join(folder, "series.npz")))
    read = read_json(note)["read"] if os.path.exists(note) else 0
    return max([finished, read, *checkpoints, len(glob.glob(os.path.join(folder, "[0-9]*.npz")))])


def _digests(run_dir, stage):
    """{file: digest} of what the stage wrote, but for what has times in it; of histories, all but their times."""
    folder = Path(run_dir) / STAGES[stage][1]
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_file() and not name.startswith(NOT_COMPARED):
            content = path.read_bytes() if not name.endswith(".keras") else _weights(path)
            found[name] = hashlib.sha256(content).hexdigest()
    history = folder / "hist.json"
    return found | ({"hist.json": [[row[0], *row[2:]] for row in read_json(history)]} if history.exists() else {})


def _weights(path):
    """The bytes of the weights in a .keras file, whose metadata has the date."""
    with zipfile.ZipFile(path) as archive:
        return archive.read("model.weights.h5")


def _summary(trials):
    seconds = [trial["seconds"] for trial in trials]
    return {
        "trials": len(trials),
        **{what: sum(trial[what] for trial in trials) for what in ("same", "kept", "left")},
        "status": sorted({trial["status"] for trial in trials}),
        "seconds": [round(statistics.median(seconds), 2), round(max(seconds), 2)],
    }


def _line(row):
    status = ",".join(map(str, row["status"]))
    return (
        f"{row['stage']:12} {row['fault']:24} {row['trials']:6} {row['same']:5} {row['kept']:5}  {status:8} "
        f"{row['seconds'][0]:.2f}, {row['seconds'][1]:.2f}{'':20} {row['left']}"
    )


if __name__ == "__main__":
    run_script(main)
