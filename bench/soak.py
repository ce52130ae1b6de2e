"""Does a long run keep to its memory?   python -m bench.soak [--hours 2] [--json FILE] train.py carracing [OPTION ...]

Runs this script, and looks at all of its processes once a minute: their memory, their open files, and what they put into
/dev/shm. After some hours it stops the script, which the same command continues. What a long run loses shows as growth from the
second quarter of this time to the last. On Linux.
"""

import argparse
import os
import re
import signal
import statistics
import time

from world_models.bench.faults import Job
from world_models.config import UserError
from world_models.job.command import Parser, run_script
from world_models.job.outputs import check_output
from world_models.job.rundir import write_json

SHARED = "/dev/shm"
COLUMNS = {"minutes": ".1f", "processes": "d", "memory_mib": ".1f", "open_files": "d", "shared_mib": ".1f"}


def main(argv=None):
    parser = Parser(description=__doc__, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=2, help="then the script is stopped (default: 2)")
    parser.add_argument("--every", type=float, default=60, metavar="SECONDS", help="between two looks (default: 60)")
    parser.add_argument("--json", metavar="FILE", help="also write all that was seen here")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="the script and its options")
    args = parser.parse_args(argv)
    check_output("--json", args.json)
    if not args.command:
        raise UserError("no script is named: give one, such as train.py carracing")
    if not args.hours > 0 or not args.every > 0:
        raise UserError(f"--hours is {args.hours} and --every {args.every}: give numbers above 0")
    seen, job, began = [], Job(args.command, stderr=None), time.time()
    print(" ".join(f"{name:>11}" for name in COLUMNS), flush=True)
    try:
        while job.process.poll() is None and time.time() < began + 3600 * args.hours:
            time.sleep(args.every)
            if look := look_at(job):
                seen.append({"minutes": (time.time() - began) / 60, **look})
                print(" ".join(f"{seen[-1][name]:11{form}}" for name, form in COLUMNS.items()), flush=True)
        if job.process.poll() is None:
            job.send(signal.SIGTERM, [job.process.pid])
        status, _ = job.ended(120)
    finally:
        job.kill()
    if len(seen) < 4:
        raise UserError(f"the script ended with {status} after {len(seen)} looks: give it more work, or a shorter --every")
    grown = growth(seen)
    told = (f"{name} {before:.6g} to {after:.6g}" for name, (before, after) in grown.items())
    print(f"exit status {status}. Medians of the second quarter and of the last: {', '.join(told)}")
    if args.json:
        write_json(args.json, {"command": args.command, "status": status, "growth": grown, "seen": seen}, indent=1)


def look_at(job):
    """What the processes of `job` hold now, as numbers by name. None where they have ended."""
    memory = files = processes = 0
    for pid in job.pids():
        try:
            with open(f"/proc/{pid}/smaps_rollup") as file:
                # Its proportional share: pages of several processes are counted once.
                memory += int(re.search(r"^Pss: +(\d+)", file.read(), re.MULTILINE)[1]) / 1024
            files += len(os.listdir(f"/proc/{pid}/fd"))
        except OSError:
            continue  # it has just ended
        processes += 1
    if not processes:
        return None
    room = os.statvfs(SHARED)
    shared = (room.f_blocks - room.f_bfree) * room.f_frsize / 2**20  # also of other programs
    return {"processes": processes, "memory_mib": memory, "open_files": files, "shared_mib": shared}


def growth(seen):
    """{name: (median of the second quarter, median of the last)} of all that was looked at."""
    quarter = len(seen) // 4
    parts = seen[quarter : 2 * quarter], seen[-quarter:]
    names = [name for name in seen[0] if name != "minutes"]
    return {name: tuple(statistics.median(look[name] for look in part) for part in parts) for name in names}


if __name__ == "__main__":
    run_script(main)
