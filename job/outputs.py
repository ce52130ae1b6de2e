"""Files that a user names: --json, --video, --out and the like. They may also be links, pipes and devices."""

import contextlib
import os
import re
import shutil
import stat
import sys
import tempfile

from world_models.config import UserError
from world_models.job.rundir import Atomic

PICTURES, VIDEOS = (".png", ".pdf", ".svg"), (".mp4", ".webp")


def check_output(option, path, endings=()):
    """Raises UserError, before anything is computed, where the file of `option`, --json for one, cannot be written.

    Its folder is made. path: None where the option is not given. endings: those that its name may have, any if empty.
    """
    if path is None:
        return
    if endings and os.path.splitext(path)[1].lower() not in endings:
        raise UserError(f"{option} is {path}: give a name that ends in {' or '.join(endings)}")
    if os.path.isdir(path):
        raise UserError(f"{option} is {path}, a folder: give the name of a file")
    target = os.path.realpath(path)
    try:
        if os.path.exists(path) and not _regular(path):
            writable = os.access(path, os.W_OK)
        else:
            os.makedirs(os.path.dirname(target), exist_ok=True)
            with tempfile.TemporaryFile(dir=os.path.dirname(target)):
                writable = not os.path.exists(target) or os.access(target, os.W_OK)
    except OSError as error:
        raise UserError(f"{option} is {path}, which cannot be written ({error.strerror}): give another name") from None
    if not writable:
        raise UserError(f"{option} is {path}, which you may not write: give another name")


@contextlib.contextmanager
def output(path):
    """`with output(path) as temporary:` as `rundir.Atomic`, but a link stays one, and a pipe or a device is written to.

    So is an open file that path is a name of, such as /dev/stdout: it goes on where it is.
    """
    number = _descriptor(path)
    if number is None and (not os.path.exists(path) or _regular(path)):
        with Atomic(os.path.realpath(path)) as temporary:
            yield temporary
        return
    with tempfile.TemporaryDirectory() as folder:
        temporary = os.path.join(folder, "output" + os.path.splitext(path)[1])
        yield temporary
        sys.stdout.flush()  # what was printed comes first
        with open(temporary, "rb") as source, open(path if number is None else os.dup(number), "wb") as target:
            shutil.copyfileobj(source, target)


def _descriptor(path):
    """The number of the open file that `path` is a name of, None for another path."""
    found = re.fullmatch(r"/dev/(stdin|stdout|stderr)|/(?:dev|proc/self)/fd/(\d+)", path)
    if not found:
        return None
    return int(found[2]) if found[2] else ("stdin", "stdout", "stderr").index(found[1])


def _regular(path):
    return stat.S_ISREG(os.stat(path).st_mode)
