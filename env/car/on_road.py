"""Whether the car is on the road, from the picture alone: a dream of CarRacing has no physics state."""

import numpy as np

from world_models.env.car.look_v0 import GRASS, LIGHT_GRASS

ROAD, OUTSIDE = (102, 102, 102), (0, 0, 0)  # outside the field everything is black
WIDE = 50  # first frames of an episode, while the view narrows and the road is thinner than the area around the car
LEFT = 25  # consecutive frames off the road, half a second, that count as leaving it: cutting a corner does not

_AROUND = slice(49, 61), slice(30, 35)  # rows and columns of a 64x64 frame: the car and the ground around it
_GROUND = ROAD, OUTSIDE, GRASS, LIGHT_GRASS
_COLORS = np.array([*_GROUND, (204, 0, 0), (255, 255, 255)], np.int32)  # the ground's, and the hull's and the kerbs'


def on_road(frames):
    """(B,) bool: whether most of the ground around the car is road, with grass in view, in frames (B,64,64,3) uint8.

    Each pixel counts as the nearest colour, so blurred reconstructions work too. In 98% of real frames, of any look, the result
    agrees with "at least two wheels touch the road". It is not valid in an episode's first WIDE frames.
    """
    nearest = np.square(np.asarray(frames, np.int32)[..., None, :] - _COLORS).sum(axis=-1).argmin(axis=-1)
    around = nearest[(slice(None), *_AROUND)]
    road, ground = around == 0, around < len(_GROUND)
    grass = (nearest == 2) | (nearest == 3)  # a uniformly grey picture shows no road
    return (road.sum(axis=(1, 2)) * 2 > ground.sum(axis=(1, 2))) & grass.any(axis=(1, 2))


def driven(on):
    """(steps (B,), share (B,)) of episodes with the car on the road where on (T,B) is True; T is WIDE + LEFT or more.

    steps: before the car left the road, T where it never did; share: of frames on the road, after the first WIDE.
    """
    judged = np.asarray(on)[WIDE:]
    off = np.lib.stride_tricks.sliding_window_view(~judged, LEFT, axis=0).all(axis=-1)
    return np.where(off.any(axis=0), WIDE + off.argmax(axis=0), len(on)), judged.mean(axis=0)


class OnRoad:
    """Scores a dream by how long the car stays on its road, for config.Game.judge."""

    least_steps = WIDE + LEFT  # of an episode that can be judged
    share = "on_road"  # the name under which the share of good frames is written
    told = "the score is the steps until the car leaves the road, and it is on the road in {share:.1%} of all frames"

    def see(self, frames):
        """(B,) bool: which of the frames (B,64,64,3) uint8 are good."""
        return on_road(frames)

    def score(self, seen):
        """(scores (B,), shares (B,)) of the episodes of which `seen` (T,B) is what `see` returned."""
        return driven(seen)
