"""The pool of workers: the ranks of an MPI job. All run the same program; rank 0 writes the files.

    pool = start(args.num_worker, units)       # restarts the script under `mpirun` if it was not started so
    results = pool.map(function, units)        # every rank gets the results of all units, in order

Results do not depend on the number of ranks: a unit is computed by one rank, and in the same way by any.
"""

import atexit
import contextlib
import ctypes
import math
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from functools import partial

from world_models.config import UserError
from world_models.job import command, silence
from world_models.job.leftovers import remove_unused
from world_models.job.machine import cores

ROWS = 16  # episodes that a worker steps as one batch; fewer where a candidate's episodes do not divide it
# Environment variables set by launchers: MPICH's and Intel's Hydra, Open MPI and PRRTE. Slurm's srun may set none of them.
_OPEN_MPI = "OMPI_COMM_WORLD_RANK"
LAUNCHED = ("PMI_RANK", "PMIX_RANK", _OPEN_MPI)
PR_SET_PDEATHSIG = 1
_STARTED = "WORLD_MODELS_STARTED"  # set by `start` for the ranks that it starts


class Pool:
    """The ranks of this job."""

    def __init__(self):
        from mpi4py import MPI

        self._comm = MPI.COMM_WORLD
        self.rank, self.size = self._comm.Get_rank(), self._comm.Get_size()
        if self.size > 1:
            global _job
            _job, sys.excepthook = self, self._abort
        if _script:
            command.heed_signals()  # which end the whole job, now that MPI runs
        neighbours = self._comm.Split_type(MPI.COMM_TYPE_SHARED)  # on this host
        if neighbours.Get_rank() == 0:
            # What MPICH leaves: 1 MB of each killed rank, and 5 KB of each mpirun that was ended.
            remove_unused("/dev/shm/mpich_shm_*", os.path.join(tempfile.gettempdir(), "hydra_hwloc_xmlfile_*"))
        neighbours.Free()
        if self.size > 1:
            for name, error in silence.watch(self._comm, self._cut_off).items():
                if self.rank == 0:
                    print(f"{name} cannot be watched ({error}): if it is cut off, the job waits for it", file=sys.stderr)

    def _cut_off(self, names):
        """Hosts with these `names` are silent: end what can be reached. On a host that is cut off, that is what runs there."""
        command.tell(f"no sign of life from {', '.join(names)}: run the same command again, without what is cut off, to go on")
        time.sleep(1)  # as in `abort`
        if _OPEN_MPI in os.environ:
            # Told to end, its mpirun would wait for the silent host's answer. Without it, all that it has started ends.
            os.kill(os.getppid(), signal.SIGKILL)
        threading.Timer(3, os._exit, [1]).start()  # for a host that is cut off: MPICH's mpirun is not there to heed the abort
        self._comm.Abort(1)

    def _abort(self, kind, error, trace):
        """An exception on any rank ends the whole job with its traceback: the other ranks would wait forever."""
        traceback.print_exception(kind, error, trace)
        self.abort(1)

    def await_others(self, seconds=math.inf):
        """Wait until all ranks are here, no longer than this. Returns whether they are.

        Unlike MPI's own waiting, it keeps no core busy.
        """
        here, until = self._comm.Ibarrier(), time.monotonic() + seconds
        while not (all_here := here.Test()) and time.monotonic() < until:
            time.sleep(0.02)
        return all_here

    def abort(self, status):
        """End all ranks, with this exit status."""
        sys.stderr.flush()
        time.sleep(1)  # mpirun must pass on what was printed; it drops what it has not read when the job ends
        self._comm.Abort(status)

    def together(self, function):
        """function() on every rank. A UserError on any of them is raised on all, so that all end the same way."""
        result = error = None
        try:
            result = function()
        except UserError as caught:
            error = str(caught)
        errors = [message for message in self._comm.allgather(error) if message]
        if errors:
            raise UserError(errors[0])
        return result

    @contextlib.contextmanager
    def stage(self, stage):
        """`with pool.stage(Stage(...)) as stage:` rank 0 alone opens it; an error in opening it is raised on all ranks."""
        self.together(stage.__enter__ if self.rank == 0 else lambda: None)
        with contextlib.ExitStack() as stack:
            if self.rank == 0:
                stack.push(stage)
            yield stage

    def alone(self, function):
        """function() on rank 0, which may use all cores, because the others sleep. A UserError is raised on all ranks."""
        if self.rank:
            self.await_others()
            return self.together(lambda: None)

        def call():
            try:
                return function()
            finally:
                self.await_others()

        return self.together(call)

    def broadcast(self, value):
        """Rank 0's value, on every rank."""
        return self._comm.bcast(value)

    def gather(self, value):
        """[rank 0's value, rank 1's, ...], on every rank."""
        return self._comm.allgather(value)

    def map(self, function, units):
        """[function(unit) for unit in units], computed by all ranks."""
        return self.map_shares(lambda share: [function(unit) for unit in share], units)

    def map_shares(self, function, units):
        """As `map`, with a function that takes a rank's whole share, a list of units, and returns the list of their results.

        Rank r takes every size-th unit from r on.
        """
        share = self.together(lambda: function(units[self.rank :: self.size]))
        results = [None] * len(units)
        for rank, part in enumerate(self.gather(share)):
            results[rank :: self.size] = part
        return results


_script = False  # whether this process is a script, which can be started again under mpirun
_job = None  # the Pool of this process, if it has several ranks
shared = None  # the Pool that scripts use which another script runs in its own process


def add_option(command_line):
    command_line.add(
        "-n",
        "--num_worker",
        type=int,
        help="worker processes, when not started under mpirun (default: one per core); results do not depend on it",
    )


def start(num_worker, units, what):
    """The Pool for `units` pieces of work, called `what`.

    In a script that another one runs in its own process, the Pool is `shared`. Under mpirun it is mpirun's ranks. Otherwise,
    and if more than one worker is wanted, this runs the script again under mpirun, and then ends this process with that exit
    status. A `main` that is called from Python, and not by `run_script`, has one worker.
    Raises UserError where there are more workers than pieces of work, and for more than one where there can be only one.
    """
    if shared:
        return shared
    if num_worker is not None and num_worker < 1:
        raise UserError(f"--num_worker is {num_worker}: give 1 or more")
    if not _launched():
        if num_worker is not None:
            _check_work(num_worker, units, what)
        available = cores() if _script else 1
        wanted = min(available, units, num_worker or available)
        if num_worker is not None and wanted < num_worker:
            if not _script:
                raise UserError(f"--num_worker is {num_worker}, but called from Python there is one: run the script, or pass 1")
            print(f"{num_worker} workers on {available} cores: starting {wanted}", file=sys.stderr)
        if wanted > 1:
            try:
                words = ["mpirun", "-n", str(wanted), sys.executable, *sys.argv]
                job = subprocess.Popen(words, env={**os.environ, _STARTED: "1"}, preexec_fn=partial(_end_with, os.getpid()))
            except FileNotFoundError:
                raise UserError("there is no mpirun on the PATH: run `make install`, or pass -n 1") from None
            sys.exit(_attended(job))
    pool = Pool()
    if num_worker not in (None, pool.size) and pool.rank == 0 and _STARTED not in os.environ:
        print(f"--num_worker is {num_worker}, but the launcher has started {pool.size}: these do the work", file=sys.stderr)
    _check_work(pool.size, units, what)
    return pool


def _end_with(parent):
    """Let this process get a SIGTERM when its parent, of this pid, dies, as it may by SIGKILL. Only Linux has that."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it has died already
            os._exit(1)


def _attended(job):
    """Wait for the mpirun `job`. Returns its exit status. A signal that ends this process ends the job too."""
    try:
        return job.wait()
    except command.Stopped:
        job.terminate()
        try:
            job.wait(10)
        except subprocess.TimeoutExpired:
            job.kill()
        raise


def _launched():
    """Whether a launcher has started this process as one of its ranks. A Slurm step of one task may be a user's shell."""
    return any(name in os.environ for name in LAUNCHED) or int(os.environ.get("SLURM_STEP_NUM_TASKS", 1)) > 1


def _check_work(workers, units, what):
    if workers > units:
        raise UserError(f"{workers} workers are more than the {units} {what} there are to share: start at most {units}")


def run_script(main):
    """As job.command.run_script, for scripts under MPI. Rank 0 alone prints a UserError that all ranks raise."""
    global _script
    _script = True
    # The launcher's name for it: MPI may not have been started yet.
    rank = next((os.environ[name] for name in LAUNCHED if name in os.environ), "0")

    def run():
        try:
            with command.as_stopped():
                main()
        except UserError as error:
            if _job and not _job.await_others(5):  # it is this rank's alone, and they would wait for it
                command.tell(error)
                _job.abort(2)
            if rank == "0":
                raise
            sys.exit(2)
        except OSError as error:
            if command.explained(error) and _job:  # the other ranks would wait for this one
                command.tell(command.explained(error))
                _job.abort(2)
            raise
        except command.Stopped as stopped:
            if not _job:
                raise
            if rank == "0" and _STARTED not in os.environ:  # else the process that started the job says it
                command.tell(stopped)
            atexit._run_exitfuncs()  # ends games
            _job.await_others(2)  # which end theirs
            _job.abort(stopped.status)

    # Until MPI runs, a rank that ends in order would leave the others waiting for it. For one that is killed, mpirun ends them.
    command.run_script(run, command.die_of_signals if _launched() else command.heed_signals)
