"""Drawing the car: its hull, and its wheels with the grey stripe that rotates with them."""

import numpy as np
from gymnasium.envs.box2d import car_dynamics

from world_models.env import drawing

REACH = 6  # pixels around the hull's position that contain the car in any direction
_WHEEL_HALF = (car_dynamics.WHEEL_W * car_dynamics.SIZE, car_dynamics.WHEEL_R * car_dynamics.SIZE)


def _half_widths(polygons):
    """(2,N), y and the half widths there, of the union of convex polygons that are symmetric about the y axis."""
    sides = [sorted((y, x) for x, y in polygon if x > 0) for polygon in polygons]
    levels = sorted({y for side in sides for y, _ in side})
    heights, widths = [], []
    for low, high in zip(levels, levels[1:], strict=False):
        here = [tuple(zip(*side, strict=True)) for side in sides if side[0][0] <= low and high <= side[-1][0]]
        for y in (low, high):
            heights.append(y * car_dynamics.SIZE)
            widths.append(max(np.interp(y, *side) for side in here) * car_dynamics.SIZE)
    return np.array([heights, widths])


_HULL = _half_widths([getattr(car_dynamics, f"HULL_POLY{i}") for i in range(1, 5)])


class CarImage:
    """Draws the car into the pictures of one look."""

    def __init__(self, car_at, wheel, stripe, hull, fine=1):
        """car_at: column and row of the hull's position; the three colours; fine: samples of a pixel in each direction.

        With one, a pixel has the colour at its centre; with more, the mean of its samples.
        """
        self._layout = (*car_at, REACH, fine)
        self._colors = np.array([(*color, 0) for color in (wheel, stripe, hull)], np.uint8)

    def draw(self, picture, physics, to_world):
        """Draw the car into `picture` (H,W,4) uint8.

        physics: the car's CarPhysics; to_world: as TrackImage.view has it.
        """
        x, y, _, _, angle = physics.hull
        drawing.car(picture, self._colors, _HULL, self._layout, to_world, (x, y, angle), _WHEEL_HALF, physics.wheels())
