"""What processes that were killed have left behind."""

import contextlib
import glob
import os
import time


def remove_unused(*patterns):
    """Remove the files of the glob patterns that this user made, and that no process has open or mapped."""
    left = [path for pattern in patterns for path in glob.glob(pattern) if mine_and_settled(path)]
    used = ""
    for process in glob.glob("/proc/[0-9]*") if left else ():
        with contextlib.suppress(OSError), open(os.path.join(process, "maps")) as file:
            used += file.read()
        for link in glob.glob(os.path.join(process, "fd", "*")):
            with contextlib.suppress(OSError):
                used += os.readlink(link) + "\n"
    for path in left:
        if path not in used:
            with contextlib.suppress(OSError):
                os.remove(path)


def mine_and_settled(path):
    """Whether this user made the file `path` over a minute ago: another process may be about to use a newer one."""
    with contextlib.suppress(OSError):
        status = os.stat(path)
        return status.st_uid == os.getuid() and status.st_mtime < time.time() - 60
    return False
