"""The pool of workers: the ranks of an MPI job, each running the same program, rank 0 doing the writing.

    pool = start(args.num_worker, units)       # starts `mpirun` itself where it was not started under one
    results = pool.map(function, units)        # every rank gets the results of all, in order

Results do not depend on how many ranks there are: a unit is computed whole on one rank, in the same way on any.
"""

import contextlib
import os
import subprocess
import sys
import time
import traceback

from world_models.config import UserError

ROWS = 16  # episodes that a worker steps together, or a few less where a candidate has fewer
# What launchers set in each process that they start: MPICH's and Intel's Hydra, Open MPI and PRRTE, Slurm's srun.
_LAUNCHED = ("PMI_RANK", "PMIX_RANK", "OMPI_COMM_WORLD_RANK", "SLURM_STEP_ID")


class Pool:
    """The ranks of this job."""

    def __init__(self):
        from mpi4py import MPI

        self._comm = MPI.COMM_WORLD
        self.rank, self.size = self._comm.Get_rank(), self._comm.Get_size()
        if self.size > 1:
            sys.excepthook = self._abort

    def _abort(self, kind, error, trace):
        """An exception on any rank ends the whole job with its traceback: the others would wait for it forever."""
        traceback.print_exception(kind, error, trace)
        sys.stderr.flush()
        time.sleep(1)  # for mpirun to pass the traceback on: it drops what it has not read when it ends the job
        self._comm.Abort(1)

    def together(self, function):
        """function() on every rank; a UserError on any of them is raised on all, so that all end the same way."""
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
        """function() on rank 0, which may use all cores: the others sleep. A UserError is raised on all ranks."""
        if self.rank:
            self.sleep()
            return self.together(lambda: None)

        def call():
            try:
                return function()
            finally:
                self.sleep()

        return self.together(call)

    def sleep(self):
        """Wait until all ranks are here, without keeping a core busy, as MPI does where it waits."""
        here = self._comm.Ibarrier()
        while not here.Test():
            time.sleep(0.02)

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
        """As `map`, with a function from a list of units to the list of their results, which is given a rank's whole share.

        Rank r takes every size-th unit from r on.
        """
        share = self.together(lambda: function(units[self.rank :: self.size]))
        results = [None] * len(units)
        for rank, part in enumerate(self.gather(share)):
            results[rank :: self.size] = part
        return results


shared = None  # the Pool of a script that runs others in its own process, for them


def add_option(command_line):
    command_line.add(
        "-n",
        "--num_worker",
        type=int,
        help="worker processes, when not started under mpirun (default: one a core); results do not depend on it",
    )


def start(num_worker, units, what):
    """The Pool for `units` pieces of work, called `what`.

    Where a script runs others in its own process, that is `shared`. Started under mpirun, its ranks are the pool. Otherwise,
    and where more than one worker is wanted, the script that was started is started again under mpirun, and this process ends
    with its exit status.
    Raises UserError where there are more workers than pieces of work.
    """
    if shared:
        return shared
    wanted = num_worker
    if not any(name in os.environ for name in _LAUNCHED):
        cores = len(os.sched_getaffinity(0))
        if num_worker is not None and num_worker < 1:
            raise UserError(f"--num_worker is {num_worker}: give 1 or more")
        if num_worker is not None:
            _check_work(num_worker, units, what)
        wanted = min(cores, units, num_worker or cores)
        if num_worker is not None and wanted < num_worker:
            print(f"{num_worker} workers on {cores} cores: starting {wanted}", file=sys.stderr)
        if wanted > 1:
            command = ["mpirun", "-n", str(wanted), sys.executable, *sys.argv]
            try:
                sys.exit(subprocess.run(command).returncode)
            except FileNotFoundError:
                raise UserError("there is no mpirun on the PATH: run `make install`, or pass -n 1") from None
    pool = Pool()
    _check_work(pool.size, units, what)
    return pool


def _check_work(workers, units, what):
    if workers > units:
        raise UserError(f"{workers} workers are more than the {units} {what} there are to share: start at most {units}")


def run_script(main):
    """job.command.run_script for scripts under MPI: a UserError, which all ranks raise, is printed by rank 0 alone."""
    try:
        main()
    except UserError as error:
        rank = next((os.environ[name] for name in _LAUNCHED[:3] if name in os.environ), "0")
        if rank == "0":
            print(f"{os.path.basename(sys.argv[0])}: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
