"""Recorded episodes on disk: one compressed .npz each, in the original's layout (obs, action) with reward and done added."""

import contextlib
import os
import shutil
import zipfile
from typing import NamedTuple

import numpy as np

from world_models.config import UserError
from world_models.job.npz import read_npz, save_npz
from world_models.job.reading import reason
from world_models.job.rundir import Atomic

HELD_OUT_EVERY = 20  # one episode in 20 is kept from training


def episode_path(folder, index):
    return os.path.join(folder, f"{index:06d}.npz")


def save_episode(path, obs, action, reward, done):
    """obs (T,64,64,3) uint8, action (T,A), reward (T,), done (T,): frame t, the action on it, and its outcome."""
    arrays = {
        "obs": np.asarray(obs, np.uint8),
        "action": np.asarray(action, np.float16),
        "reward": np.asarray(reward, np.float32),
        "done": np.asarray(done, bool),
    }
    save_npz(path, arrays)


class Episode(NamedTuple):
    """T frames, with the action on each and its outcome."""

    obs: np.ndarray  # (T,64,64,3) uint8
    action: np.ndarray  # (T,A) float32
    reward: np.ndarray  # (T,) float32, NaN where the file has none, as the original's files
    ended: bool  # True where the game ended it, False where it was cut off

    def mirrored(self, factors):
        """The mirror image of the episode. factors (A,) multiply the actions: -1 where left and right are swapped."""
        return self._replace(obs=np.ascontiguousarray(self.obs[:, :, ::-1]), action=self.action * np.float32(factors))


MIRRORED = "mirrored-"  # the prefix of the name of a mirrored episode in series.npz


def load_episode(path, action_size, max_steps=np.inf):
    """The Episode in `path`. An episode of `max_steps` frames counts as cut off, whatever the file says.

    One-dimensional actions may be (T,) in the file, as the original's doomrnn/extract.py writes them. The original's files do
    not say how an episode ended: for them the length alone decides.
    Raises UserError, naming the file, where it is truncated, empty, not numbers, or of another shape.
    """
    with reading_episode(path):
        episode = read_npz(path, ("obs", "action", "reward", "done"))
        obs = episode["obs"]
        action = np.asarray(episode["action"], np.float32)
        reward = np.asarray(episode["reward"], np.float32) if "reward" in episode else np.full(len(action), np.nan, np.float32)
        ended = len(action) < max_steps and ("done" not in episode or bool(episode["done"][-1]))
    if action.ndim == action_size == 1:
        action = action[:, None]
    if action.ndim != 2 or action.shape[1] != action_size:
        raise BadEpisode(path, f"has actions of shape {action.shape}, not (T, {action_size})")
    if len(action) == 0:
        raise BadEpisode(path, "has no frames")
    if not np.isfinite(action).all():
        raise BadEpisode(path, "has actions that are not finite")
    if obs.dtype != np.uint8 or obs.shape != (len(action), 64, 64, 3):
        raise BadEpisode(path, f"has obs of {obs.dtype} {obs.shape}, not uint8 ({len(action)}, 64, 64, 3)")
    if reward.shape != (len(action),):
        raise BadEpisode(path, f"has rewards of shape {reward.shape}, not ({len(action)},)")
    return Episode(obs, action, reward, ended)


@contextlib.contextmanager
def reading_episode(path):
    """`with reading_episode(path):` as `job.reading.reading`, but an error becomes a BadEpisode."""
    try:
        yield
    except Exception as error:
        raise BadEpisode(path, f"cannot be read ({reason(error)})") from None


class BadEpisode(UserError):
    """A file among the recorded episodes that is not a whole episode."""

    def __init__(self, path, what):
        super().__init__(f"{path} {what}: remove it (vae.train and rnn.series can skip it: --skip-bad)")


def list_episodes(folder):
    """The paths of the episodes in `folder`, sorted by name. A file that is still being written begins with a dot."""
    try:
        names = sorted(name for name in os.listdir(folder) if name.endswith(".npz") and not name.startswith("."))
    except OSError:
        names = []
    return [os.path.join(folder, name) for name in names]


def linked(name):
    """Whether the episode of this file name is another run's: it has that run's name before its number."""
    return "-" in name.removeprefix(MIRRORED)


def linked_name(name, run):
    """What the episode of this file name, of the run called `run`, is called in another run."""
    if linked(name):
        return name
    mirrored = MIRRORED if name.startswith(MIRRORED) else ""
    return f"{mirrored}{run}-{name.removeprefix(MIRRORED)}"


def link_episodes(paths, folder, run=None):
    """Put the files `paths` into `folder`, but for those that it has: as hard links, or on another disk as copies.

    A file that is there under another name is known by its contents. run: the name of the run that they were recorded for,
    which names that have none are given. Raises UserError where another episode has that name.
    """
    names = (os.path.basename(path) for path in paths)
    targets = [os.path.join(folder, name if run is None else linked_name(name, run)) for name in names]
    missing = [pair for pair in zip(paths, targets, strict=True) if not _is_there(*pair)]
    there = {checksums(path) for path in list_episodes(folder)} if missing else set()  # takes a while for thousands
    for path, target in missing:
        if not os.path.exists(target) and (contents := checksums(path)) not in there:
            link_file(path, target)
            there.add(contents)


def _is_there(path, target):
    """Whether `target` is the episode `path`. Raises UserError where it is another one."""
    if not os.path.exists(target):
        return False
    if not os.path.samefile(path, target) and checksums(path) != checksums(target):
        raise UserError(f"{target} is not the episode {path}: two runs have the same name; rename the folder of one")
    return True


def checksums(path):
    """What tells apart files of recorded episodes: the checksums of their arrays, or the path of one that cannot be read."""
    try:
        with zipfile.ZipFile(path) as archive:
            return tuple(sorted((info.filename, info.CRC, info.file_size) for info in archive.infolist()))
    except Exception:  # as in reading_episode
        return path


def link_file(path, target):
    """Make `target` the file `path`: a hard link, or on another disk a copy."""
    with Atomic(target) as temporary:
        try:
            os.link(path, temporary)
        except OSError:
            shutil.copyfile(path, temporary)


def in_a_pass(episodes, half_new, rng):
    """The indices of `episodes`, names of files, that one pass of a training takes, in a random order.

    half_new: all of this run's own, and at random no more of those of other runs.
    """
    if not half_new:
        return rng.permutation(len(episodes))
    others = np.array([linked(name) for name in episodes])
    (own,), (others,) = np.nonzero(~others), np.nonzero(others)
    return rng.permutation(np.concatenate([own, rng.choice(others, min(len(own), len(others)), replace=False)]))


def split(episodes):
    """(training, held out): every 20th of `episodes` is held out, or the last one where there are fewer than 20.

    The mirror image of a held-out episode is in neither.
    """
    real = [episode for episode in episodes if not episode.startswith(MIRRORED)]
    held_out = real[HELD_OUT_EVERY - 1 :: HELD_OUT_EVERY] or real[1:][-1:]
    unseen = set(held_out)
    return [episode for episode in episodes if episode.removeprefix(MIRRORED) not in unseen], held_out
