"""What depends on the machine: threads, memory, and the faster precision."""

import contextlib
import ctypes
import os
import sys
import warnings

import threadpoolctl

from world_models.config import UserError

PRECISIONS = ("float32", "bfloat16")


def bfloat16_allowed():
    """Whether oneDNN may use AVX-512. Where ONEDNN_MAX_CPU_ISA forbids it, bfloat16 crashes."""
    return os.environ.get("ONEDNN_MAX_CPU_ISA", "ALL").upper().startswith(("ALL", "DEFAULT", "AVX512", "AVX10"))


def check_precision(name):
    """Raise UserError where `name` is not in PRECISIONS, or is not available here."""
    if name not in PRECISIONS:
        raise UserError(f"there is no precision {name!r}: choose one of {', '.join(PRECISIONS)}")
    if name == "bfloat16" and not bfloat16_allowed():
        raise UserError("there is no bfloat16 with the ONEDNN_MAX_CPU_ISA that is set: unset it, or choose float32")


def fast_precision(cpuinfo="/proc/cpuinfo"):
    """The precision that "auto" means: "bfloat16" where, by /proc/cpuinfo, this processor multiplies matrices faster in it.

    That is so with AMX, and with AVX512-BF16 on AMD's processors. On Intel's with AVX512-BF16 but no AMX, bfloat16 takes 1.8
    times as long as float32 (V's encoder, 16 frames on a core of a Xeon: 6.8 ms against 3.8). Without AVX512-BF16 it takes many
    times as long on any processor.
    """
    if not bfloat16_allowed():
        return "float32"
    try:
        with open(cpuinfo) as file:
            lines = (line.partition(":") for line in file)
            facts = {name.strip(): value.split() for name, _, value in lines}
    except OSError:
        return "float32"
    flags = facts.get("flags", [])
    fast = "amx_bf16" in flags or "avx512_bf16" in flags and facts.get("vendor_id") == ["AuthenticAMD"]
    return "bfloat16" if fast else "float32"


def cores():
    """How many cores this process may use. Only Linux can say; elsewhere it is how many there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def set_threads(count):
    """Let TensorFlow, OpenCV and NumPy's BLAS use `count` threads. For the first two this works only before they are loaded."""
    blas = "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"
    # With pictures of 96 by 84 OpenCV's second thread has nothing to do, but would busy-wait beside the worker.
    for name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OPENCV_FOR_THREADS_NUM", *blas):
        os.environ.setdefault(name, str(count))
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if "cv2" in sys.modules:
        sys.modules["cv2"].setNumThreads(count)
    threadpoolctl.threadpool_limits(count, "blas")  # NumPy, if already loaded, no longer reads the variables


def keep_memory():
    """Let glibc's malloc, where it is the allocator, keep freed memory.

    By default it returns each large array to the system. The next one is then mapped page by page, each with a page fault and
    filled with zeros.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    for parameter, value in ((-1, 1 << 30), (-2, 64 << 20), (-3, 32 << 20)) if mallopt else ():
        mallopt(parameter, value)  # M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD (32 MiB is its maximum)


@contextlib.contextmanager
def without_matplotlib():
    """No module that is imported within finds Matplotlib, which some load for pictures that nobody here asks them for."""
    hidden = {} if "matplotlib" in sys.modules else {"matplotlib": None}
    sys.modules.update(hidden)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that they will draw none
            yield
    finally:
        for name in hidden:
            del sys.modules[name]


def load_tensorflow(threads, lanes=False):
    """Import TensorFlow with `threads` threads, and hide the few lines that it prints whatever its settings are.

    lanes: threads never share an operation. Each runs separate ones, as the lanes of dream.population do.
    """
    if lanes:
        os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
    set_threads(threads)
    keep_memory()
    sys.stderr.flush()
    stderr, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    try:
        with without_matplotlib():  # Keras would take a seventh of the time of all this for galleries of images
            import tensorflow  # noqa: F401
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(nothing)
