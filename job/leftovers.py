"""What processes that were killed have left behind."""

import contextlib
import glob
import os
import time


def remove_shared_memory(pattern):
    """Remove the files /dev/shm/PATTERN that this user made, and that no process has mapped."""
    left = [path for path in glob.glob(os.path.join("/dev/shm", pattern)) if mine_and_settled(path)]
    maps = ""
    for path in glob.glob("/proc/[0-9]*/maps") if left else ():
        with contextlib.suppress(OSError), open(path) as file:
            maps += file.read()
    for path in left:
        if path not in maps:
            with contextlib.suppress(OSError):
                os.remove(path)


def mine_and_settled(path):
    """Whether this user made the file `path` over a minute ago: another process may be about to use a newer one."""
    with contextlib.suppress(OSError):
        status = os.stat(path)
        return status.st_uid == os.getuid() and status.st_mtime < time.time() - 60
    return False
