"""Jobs over three hosts: the results of one host, and what happens when a host is cut off. For root, on Linux.

    python tests/hosts.py [--mpirun PATH] [--games GAME ...] [--cuts 3]

The hosts are namespaces of this machine, named a, b and c. Each has a network address, a host name, processes, shared memory
and an ssh server of its own, and a cable to a bridge that joins them. The disk is the same for all. Everything is removed at
the end.
"""

import argparse
import contextlib
import functools
import glob
import hashlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
HOSTS = "a", "b", "c"
BRIDGE, NETWORK = f"wm{os.getpid()}", "10.77.0."
CUT = "carracing", "real", 12  # the search in which a host is cut off, and its generations
LIMIT = 120  # seconds after which a job counts as one that does not end
NEEDED = {"ip": "iproute2", "unshare": "util-linux", "nsenter": "util-linux", "sshd": "openssh-server", "ssh": "openssh-client"}
BOOT = """
hostname {name} && ip link set lo up && mount -t tmpfs tmpfs /dev/shm && mount -t tmpfs tmpfs /run && mkdir /run/sshd &&
mount --bind {folder}/hosts /etc/hosts && exec {sshd} -D -f {folder}/sshd_config
"""
SSHD = """
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/key.pub
StrictModes no
PermitRootLogin yes
SetEnv PATH={path} TMPDIR=/run
ClientAliveInterval 10
"""
SSH = """
IdentityFile {folder}/key
StrictHostKeyChecking no
UserKnownHostsFile /dev/null
LogLevel ERROR
ServerAliveInterval 10
"""


def call(*words):
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


class Host:
    """One of the hosts. Its first process is its ssh server."""

    def __init__(self, name, folder, stack):
        self.name, self.cable = name, f"{BRIDGE}-{name}"
        boot = BOOT.format(name=name, folder=folder, sshd=shutil.which("sshd"))
        self._unshare = subprocess.Popen(
            ["unshare", "--net", "--uts", "--ipc", "--pid", "--mount-proc", "--fork", "--kill-child", "sh", "-ec", boot]
        )
        stack.callback(self._unshare.wait)
        stack.callback(self._unshare.kill)  # its child, the first process, dies with it, and with that one all others here
        children = Path(f"/proc/{self._unshare.pid}/task/{self._unshare.pid}/children")
        while not children.read_text():
            assert self._unshare.poll() is None, "unshare has ended"
            time.sleep(0.05)
        self.pid = int(children.read_text())
        call("ip", "link", "add", self.cable, "type", "veth", "peer", "name", "eth0", "netns", str(self.pid))
        stack.callback(call, "ip", "link", "delete", self.cable)
        call("ip", "link", "set", self.cable, "master", BRIDGE, "up")
        here = "nsenter", "--net", "--target", str(self.pid)
        call(*here, "ip", "address", "add", f"{NETWORK}{HOSTS.index(name) + 1}/24", "dev", "eth0")
        call(*here, "ip", "link", "set", "eth0", "up")
        while ":0016 " not in Path(f"/proc/{self.pid}/net/tcp").read_text():  # port 22
            assert self._unshare.poll() is None, "its ssh server has ended"
            time.sleep(0.05)

    @staticmethod
    def _namespace(pid):
        with contextlib.suppress(OSError):
            return os.readlink(f"/proc/{pid}/ns/pid")

    def processes(self, of_ssh=False):
        """The commands of the processes that run here: those of ssh, without the server, or all others."""
        found = []
        for path in glob.glob("/proc/[0-9]*"):
            pid = int(path.split("/")[2])
            if pid != self.pid and self._namespace(pid) == self._namespace(self.pid):
                with contextlib.suppress(OSError):
                    if Path(path, "stat").read_text().rsplit(")", 1)[1].split()[0] != "Z":
                        found.append(Path(path, "cmdline").read_text().replace("\0", " ").strip())
        return [each for each in found if each and os.path.basename(each.split()[0]).startswith("ssh") == of_ssh]

    def traffic(self):
        """The bytes that its cable has carried so far."""
        return sum(int(Path(f"/sys/class/net/{self.cable}/statistics/{way}_bytes").read_text()) for way in ("rx", "tx"))

    def cut(self, off=True):
        call("ip", "link", "set", self.cable, "down" if off else "up")

    def start(self, words, environment, folder=ROOT):
        """A process here that runs the command `words`."""
        inside = ["nsenter", "--all", "--target", str(self.pid), f"--wdns={folder}", *words]
        return subprocess.Popen(inside, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


@contextlib.contextmanager
def network():
    """({name: Host}, the environment for their commands)."""
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        path = f"{folder}/bin:{Path(sys.executable).parent}:{os.environ['PATH']}"
        addresses = [f"{NETWORK}{i + 1} {name}\n" for i, name in enumerate(HOSTS)]
        Path(folder, "hosts").write_text("127.0.0.1 localhost\n" + "".join(addresses))
        Path(folder, "sshd_config").write_text(SSHD.format(folder=folder, path=path))
        Path(folder, "ssh_config").write_text(SSH.format(folder=folder))
        for name in ("key", "host_key"):
            call("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", f"{folder}/{name}")
        ssh = Path(folder, "bin", "ssh")
        ssh.parent.mkdir()
        ssh.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {folder}/ssh_config "$@"\n')
        ssh.chmod(0o755)
        call("ip", "link", "add", BRIDGE, "type", "bridge")
        stack.callback(call, "ip", "link", "delete", BRIDGE)
        call("ip", "link", "set", BRIDGE, "up")
        hosts = {name: Host(name, folder, stack) for name in HOSTS}
        yield hosts, {**os.environ, "PATH": path, "TMPDIR": "/run"}


class Launcher:
    """The mpirun on the PATH, or another one: MPICH's or Open MPI's, which take different words."""

    def __init__(self, mpirun):
        self.mpirun = shutil.which(mpirun)
        if not self.mpirun:
            sys.exit(f"hosts.py: there is no {mpirun}: install MPICH or Open MPI")
        told = subprocess.run([self.mpirun, "--version"], capture_output=True, text=True).stdout
        self.is_open = "Open MPI" in told
        lines = told.splitlines()
        self.name = lines[0].strip() if self.is_open else "MPICH " + lines[1].split()[-1]

    def words(self, names, count, arguments):
        """The command with `count` ranks on the hosts `names`."""
        if self.is_open:
            variables = [word for name in ("PATH", "MPI4PY_MPIABI") for word in ("-x", name)]
            slots = ",".join(f"{name}:{-(-count // len(names))}" for name in names)
            how = ["--allow-run-as-root", "--bind-to", "none", *variables, "--host", slots]
        else:
            how = ["-hosts", ",".join(names)]
        return [self.mpirun, *how, "-n", str(count), sys.executable, *map(str, arguments)]


def outputs(folder):
    """{file: its digest} of a stage's folder. Times are left out, and so are the files that have more of them."""
    found = {}
    for path in sorted(Path(folder).iterdir()):
        content = path.read_bytes() if path.is_file() else b""
        if path.name in ("hist.json", "hist_best.json"):
            content = json.dumps(_without_seconds(json.loads(content))).encode()
        elif path.name == "checkpoint.npz":
            with np.load(path) as file:
                told = json.loads(file["told"].item())
                arrays = [file[str(i)].tobytes() for i in range(len(file.files) - 1)]
            values = told["values"]
            values |= {"seconds": None} | {name: _without_seconds(values[name]) for name in ("history", "evaluations")}
            content = b"".join([json.dumps(_without_timers(told)).encode(), *arrays])
        if path.suffix in (".json", ".npz") and path.name != "config.json":
            found[path.name] = hashlib.sha256(content).hexdigest()
    assert found, f"{folder} is empty"
    return found


def _without_timers(value):
    """A checkpoint's tree without the stopwatches of cma."""
    if isinstance(value, list):
        return [_without_timers(each) for each in value]
    if isinstance(value, dict):
        return {name: _without_timers(each) for name, each in value.items() if not name.startswith("timer")}
    return value


def _without_seconds(rows):
    return [row[:1] + row[2:] for row in rows]


def finished(process):
    """Wait for a job that is to end well. Returns the seconds that it took."""
    begun = time.time()
    told = process.communicate(timeout=600)[1]
    assert process.returncode == 0, told[-3000:]
    return time.time() - begun


def search(run, game, world, generations, name):
    options = "--world", world, "--scale", "smoke", "--generations", generations, "--run-dir", run, "--name", name
    return [ROOT / "train.py", game, *options], run / f"controller-{name}"


def recording(run, game, name):
    return [ROOT / "extract.py", game, "--scale", "smoke", "--run-dir", run / name], run / name / "record"


def compare(title, job, hosts, environment, launcher):
    """Assert that a job has the same results in one process, with three workers and on three hosts.

    job(name) returns its (arguments, folder).
    """
    found = {}
    for name, where, count in (("one", ["a"], 1), ("workers", ["a"], 3), ("hosts", HOSTS, 3)):
        arguments, folder = job(name)
        before = {each: hosts[each].traffic() for each in HOSTS}
        seconds = finished(hosts["a"].start(launcher.words(where, count, arguments), environment))
        carried = ", ".join(f"{each} {(hosts[each].traffic() - before[each]) / 1000:,.0f} kB" for each in HOSTS)
        found[name] = outputs(folder)
        print(f"{title}, {name}: {seconds:.0f} s, {len(found[name])} files; the cables carried {carried}", flush=True)
    assert found["one"] == found["workers"] == found["hosts"], found


def cut(trial, whom, expected, run, hosts, environment, launcher):
    """Cut the host `whom` off in a search over three. It is to end, and to go on with the others to the results `expected`."""
    arguments, folder = search(run, *CUT, f"cut{trial}")
    history = folder / "hist.json"
    process = hosts["a"].start(launcher.words(HOSTS, 3, arguments), environment)
    while not history.exists() or len(json.loads(history.read_text())) < 2:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.1)
    begun, ended = time.time(), {}
    hosts[whom].cut()
    while len(ended) < 4 and time.time() < begun + LIMIT:
        if "mpirun" not in ended and process.poll() is not None:
            ended["mpirun"] = time.time() - begun
        ended |= {name: time.time() - begun for name in HOSTS if name not in ended and not hosts[name].processes()}
        time.sleep(0.1)
    done = len(json.loads(history.read_text()))
    left = {name: hosts[name].processes() for name in HOSTS if name not in ended}
    if left:
        sys.exit(f"hosts.py: {LIMIT} s after {whom} was cut off these are left: {left}")
    seconds = ", ".join(f"{name} {value:.0f} s" for name, value in ended.items())
    while any(host.processes(of_ssh=True) for host in hosts.values()):
        assert time.time() < begun + LIMIT, "ssh has not ended"
        time.sleep(0.1)
    print(f"{whom} cut off: {seconds}; status {process.returncode}; {done} generations", flush=True)
    print(f"  {time.time() - begun:.0f} s until ssh, which has limits of its own, had ended too", flush=True)
    told = [line for line in process.communicate()[1].splitlines() if "no sign of life" in line]
    print(f"  {told}", flush=True)
    assert told and max(ended.values()) < 60
    others = [name for name in HOSTS if name != whom]
    finished(hosts[others[0]].start(launcher.words(others, 2, arguments), environment))
    assert done < CUT[2] and outputs(folder) == expected
    print(f"  went on with {' and '.join(others)} to the same results", flush=True)
    hosts[whom].cut(off=False)
    for name in others:
        while hosts[whom].start(["ssh", name, "true"], environment).wait():  # it remembers for seconds that there was no way
            time.sleep(0.5)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mpirun", default="mpirun", help="MPICH's or Open MPI's (default: the first on the PATH)")
    parser.add_argument("--cuts", type=int, default=3, help="how often a host is cut off: c, a, b and so on (default: 3)")
    games = "carracing", "doom", "pendulum"
    parser.add_argument("--games", nargs="*", choices=games, default=games, help="whose searches are compared (default: all)")
    args = parser.parse_args()
    missing = [f"{name} (on Debian in {package})" for name, package in NEEDED.items() if not shutil.which(name)]
    if sys.platform != "linux" or os.geteuid() != 0:
        sys.exit("hosts.py: namespaces are made by root on Linux: run it there")
    if missing:
        sys.exit(f"hosts.py: not found: {', '.join(missing)}: install it")
    from conftest import make_run

    launcher = Launcher(args.mpirun)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that all is removed
    with tempfile.TemporaryDirectory() as folder, network() as (hosts, environment):
        print(launcher.name, flush=True)
        if launcher.is_open:
            environment |= {"MPI4PY_MPIABI": "openmpi", "OMPI_MCA_mpi_yield_when_idle": "1"}  # the hosts share their cores
        for game in args.games:
            world = "real" if game == "carracing" else "dream"
            job = functools.partial(search, make_run(Path(folder, game), game), game, world, 2)
            compare(f"search, {game}, {world}", job, hosts, environment, launcher)
        if args.games:
            job = functools.partial(recording, Path(folder), "carracing")
            compare("recording, carracing", job, hosts, environment, launcher)
        if args.cuts:
            run = make_run(Path(folder, "cuts"), CUT[0])
            arguments, undisturbed = search(run, *CUT, "undisturbed")
            finished(hosts["a"].start(launcher.words(["a"], 2, arguments), environment))
        for trial, whom in zip(range(args.cuts), itertools.cycle("cab"), strict=False):
            cut(trial, whom, outputs(undisturbed), run, hosts, environment, launcher)


if __name__ == "__main__":
    main()
