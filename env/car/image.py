"""Drawing the car: its hull, and its wheels with the grey stripe that rotates with them."""

import math

import cv2
import numpy as np
from gymnasium.envs.box2d import car_dynamics

from world_models.env.car.track import rgbx

REACH = 6  # pixels around the hull's position that contain the car in any direction
_WHEEL_HALF = (car_dynamics.WHEEL_W * car_dynamics.SIZE, car_dynamics.WHEEL_R * car_dynamics.SIZE)
_NO_STRIPE = (0.0, 0.0, 2.0)


def _half_widths(polygons):
    """(y, half widths), for np.interp, of the union of convex polygons that are symmetric about the y axis."""
    sides = [sorted((y, x) for x, y in polygon if x > 0) for polygon in polygons]
    levels = sorted({y for side in sides for y, _ in side})
    heights, widths = [], []
    for low, high in zip(levels, levels[1:], strict=False):
        here = [tuple(zip(*side, strict=True)) for side in sides if side[0][0] <= low and high <= side[-1][0]]
        for y in (low, high):
            heights.append(y * car_dynamics.SIZE)
            widths.append(max(np.interp(y, *side) for side in here) * car_dynamics.SIZE)
    return np.array(heights), np.array(widths)


_HULL = _half_widths([getattr(car_dynamics, f"HULL_POLY{i}") for i in range(1, 5)])


class CarImage:
    """Draws the car into the pictures of one look."""

    def __init__(self, car_at, wheel, stripe, hull, fine=1):
        """car_at: column and row of the hull's position; the three colours; fine: samples of a pixel in each direction.

        With one, a pixel has the colour at its centre; with more, the mean of its samples.
        """
        column, row = car_at
        self._fine = fine
        self._patch = (slice(row - REACH, row + REACH), slice(column - REACH, column + REACH))
        centres = (np.arange(-REACH * fine, REACH * fine) + 0.5) / fine
        columns, rows = np.meshgrid(centres, centres)
        self._centres = np.stack([columns.ravel(), rows.ravel(), np.ones(columns.size)])  # from car_at, homogeneous
        self._colors = [rgbx(color) for color in (wheel, stripe, hull)]

    def draw(self, picture, physics, to_world):
        """Draw the car into `picture` (H,W,4) uint8.

        physics: the car's CarPhysics; to_world: as TrackImage.view has it.
        """
        hull_x, hull_y, _, _, hull_angle = physics.hull
        # Coordinates of a pixel relative to each part, as rows to be multiplied with (column, row, 1). For a wheel the unit is
        # half its size, so a pixel is inside the wheel or its stripe where the coordinates are between -1 and 1.
        across, along = _seen_from(0.0, 0.0, hull_angle, to_world)
        rows = [*across, *along]
        for x, y, angle, phase in physics.wheels():
            across, along = _seen_from(x - hull_x, y - hull_y, angle, to_world)
            across, along = [value / _WHEEL_HALF[0] for value in across], [value / _WHEEL_HALF[1] for value in along]
            rows += *across, *along, *_stripe(phase, along)
        places = np.array(rows).reshape(-1, 3) @ self._centres
        on_wheels = (np.abs(places[2:]) <= 1).reshape(4, 3, -1)  # beside it, along it, along its stripe
        wheel, stripe = np.logical_or.reduce(on_wheels[:, :1] & on_wheels[:, 1:])
        hull = np.abs(places[0]) <= np.interp(places[1], *_HULL, -1, -1)
        patch = picture[self._patch]
        pixels = patch if self._fine == 1 else patch.repeat(self._fine, axis=0).repeat(self._fine, axis=1)
        colors = pixels.view(np.uint32)[..., 0]
        for covered, color in zip((wheel, stripe, hull), self._colors, strict=True):
            np.copyto(colors, color, where=covered.reshape(colors.shape))
        if self._fine > 1:
            cv2.resize(pixels, patch.shape[:2], dst=patch, interpolation=cv2.INTER_AREA)


def _seen_from(x, y, angle, to_world):
    """Two rows that, times (column, row, 1), give a pixel's coordinates across and along a part at x, y from the hull."""
    a, b, c, d = to_world
    cos, sin = math.cos(angle), math.sin(angle)
    return (
        (cos * a + sin * c, cos * b + sin * d, -(cos * x + sin * y)),
        (cos * c - sin * a, cos * d - sin * b, sin * x - cos * y),
    )


def _stripe(phase, along):
    """The row of the grey stripe, which covers 1.2 radians of the tread of a wheel rotated by `phase`."""
    ends, hidden = [], 0
    for angle in (phase, phase + 1.2):
        end = math.cos(angle)
        if math.sin(angle) > 0:  # on the underside
            end = math.copysign(1, end)
            hidden += 1
        ends.append(end)
    middle, half = (ends[0] + ends[1]) / 2, abs(ends[0] - ends[1]) / 2
    if hidden == 2 or half == 0:
        return _NO_STRIPE
    return along[0] / half, along[1] / half, (along[2] - middle) / half
