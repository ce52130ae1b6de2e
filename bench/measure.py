"""How the benchmarks measure: alternatives run interleaved, so that a busy machine slows all of them alike."""

import importlib.metadata
import json
import platform
import statistics
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from world_models.job.machine import cores
from world_models.job.outputs import output

RUNS = 5
SQUARE, PRODUCTS = 2048, 6  # to measure the machine's peak


def rates(alternatives, runs=RUNS, warm_up=True):
    """{name: [work per second, one number for each run]} of {name: function}.

    A function does some work and returns how much it did, or (how much, seconds) where it measures its own time to exclude
    preparation. With `warm_up`, each is called once before, unmeasured. Then they are called in turn, `runs` times.
    """
    for function in alternatives.values() if warm_up else ():
        function()
    measured = {name: [] for name in alternatives}
    for _ in range(runs):
        for name, function in alternatives.items():
            start = time.perf_counter()
            work = function()
            work, seconds = work if isinstance(work, tuple) else (work, time.perf_counter() - start)
            measured[name].append(work / seconds)
    return measured


def products(lanes, flops):
    """A function for `rates`: TensorFlow's float32 products of large matrices, in `lanes` threads, as units of `flops` each."""
    import tensorflow as tf

    a, b = (tf.constant(np.random.default_rng(i).normal(size=(SQUARE, SQUARE)), tf.float32) for i in range(2))
    multipliers = [tf.function(lambda a, b: tf.matmul(a, b)) for _ in range(lanes)]  # an operation for each thread

    def work(multiply):
        for _ in range(PRODUCTS):
            product = multiply(a, b)
        return float(product[0, 0])

    def run():
        with ThreadPoolExecutor(lanes) as pool:
            list(pool.map(work, multipliers))
        return 2 * SQUARE**3 * PRODUCTS * lanes / flops

    return run


def ratio(measured, name, other):
    """The median over runs of how many times faster `name` is than `other`, each compared within the same run."""
    return statistics.median(a / b for a, b in zip(measured[name], measured[other], strict=True))


def table(title, measured, unit, against=None):
    """Lines of text: each alternative's median with the slowest and fastest run, and its ratio to the one called `against`."""
    lines = [f"{title:52} {unit:>14}   (slowest to fastest run)" + (f"   times {against}" if against else "")]
    for name, values in measured.items():
        line = f"  {name:50} {statistics.median(values):14,.0f}   ({min(values):,.0f} to {max(values):,.0f})"
        lines.append(line + (f"   {ratio(measured, name, against):.2f}" if against else ""))
    return "\n".join(lines)


def machine():
    """{...} of the processor, its cores, and the versions that affect speed."""
    model = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo") as file:
            model = next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    packages = ("tensorflow", "numpy", "gymnasium", "opencv-python-headless", "pillow", "vizdoom")
    versions = {name: importlib.metadata.version(name) for name in packages}
    return {"processor": model, "cores": cores(), "python": platform.python_version(), **versions}


def report(path, numbers, runs=RUNS):
    """Write {name: number} with the machine to the JSON file `path`, where one is given, and print the machine."""
    numbers = {**numbers, "runs": runs, "machine": machine()}
    print(f"\nmedians of {runs} runs; " + ", ".join(f"{name} {value}" for name, value in numbers["machine"].items()))
    if path:
        with output(path) as temporary, open(temporary, "w") as file:
            json.dump(numbers, file, indent=1)
            file.write("\n")
