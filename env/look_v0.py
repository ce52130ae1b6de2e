"""What the published agents saw: the picture of CarRacing-v0 (Gym 0.9.4), which later versions changed.

Against Gymnasium's v3 the camera sees more of the field, looks where the car is going instead of where it points, stretches
the two directions differently, and samples each pixel at its centre alone (OpenGL without antialiasing). Rows 84-95, the
dashboard, are not drawn: nobody sees them.
"""

import math

import cv2
import numpy as np
from gymnasium.envs.box2d import car_dynamics
from gymnasium.envs.box2d.car_racing import SCALE, ZOOM

from env.track_image import GRASS, HULL, LIGHT_GRASS, OUTSIDE, RED_KERB, STRIPE, TILES, WHEEL, WHITE_KERB, TrackImage

SHAPE = (84, 96)  # rows and columns of the picture
CAR_AT = (48, 72)  # column and row of the hull's position
PIXELS = np.array([96 / 1200, -96 / 1000])  # columns and rows for one unit of the 1200 x 1000 window, whose rows count upwards

COLORS = {
    OUTSIDE: (0, 0, 0),
    GRASS: (102, 204, 102),
    LIGHT_GRASS: (102, 229, 102),
    WHITE_KERB: (255, 255, 255),
    RED_KERB: (255, 0, 0),
    WHEEL: (0, 0, 0),
    STRIPE: (77, 77, 77),
    HULL: (204, 0, 0),
}

_REACH = 6  # pixels from the hull's position that hold all of the car, whichever way it points
_PATCH = (slice(CAR_AT[1] - _REACH, CAR_AT[1] + _REACH), slice(CAR_AT[0] - _REACH, CAR_AT[0] + _REACH))
_CENTRES = np.stack(np.meshgrid(*2 * [np.arange(-_REACH, _REACH) + 0.5])).reshape(2, -1)  # columns and rows from CAR_AT
_WHEEL_HALF = np.array([car_dynamics.WHEEL_W, car_dynamics.WHEEL_R]) * car_dynamics.SIZE


def _half_planes(polygons):
    """normals (E,2), offsets (E,1) and the first edge of each convex polygon: p is inside where all normal . p <= offset."""
    normals, offsets, first = [], [], []
    for polygon in polygons:
        corners = np.array(polygon) * car_dynamics.SIZE
        along = np.roll(corners, -1, axis=0) - corners
        outward = np.stack([along[:, 1], -along[:, 0]], axis=1)
        outward *= np.sign(np.sum(outward * (corners - corners.mean(axis=0))))  # whichever way round the corners go
        first.append(sum(map(len, normals)))
        normals.append(outward)
        offsets.append(np.sum(outward * corners, axis=1))
    return np.concatenate(normals), np.concatenate(offsets)[:, None], first


_HULL = _half_planes([getattr(car_dynamics, f"HULL_POLY{i}") for i in range(1, 5)])


class LookV0:
    """Draws the state of a CarRacing environment as v0 did. One for each environment: it keeps the episode's track."""

    def new_track(self, env):
        """Called once an episode, before its first picture."""
        self._track = TrackImage(env.road_poly)
        self._palette = np.zeros((TILES + len(env.road), 4), np.uint8)  # RGB and a filler, so that a colour is one uint32
        for owner, color in COLORS.items():
            self._palette[owner, :3] = color

    def picture(self, env):
        """(84, 96, 3) uint8: the first 84 of v0's 96 rows."""
        hull = env.car.hull
        x, y = hull.position
        velocity = hull.linearVelocity
        angle = math.atan2(*velocity) if math.hypot(*velocity) > 0.5 else -hull.angle
        # The view widens from the whole field to the car's surroundings in the first second.
        zoom = 0.1 * SCALE * max(1 - env.t, 0) + ZOOM * SCALE * min(env.t, 1)
        cos, sin = math.cos(angle), math.sin(angle)
        to_world = np.array([[cos, sin], [-sin, cos]]) / (zoom * PIXELS)  # of (columns, rows) from CAR_AT

        corner = -to_world @ CAR_AT
        owners = self._track.view(x + corner[0], y + corner[1], to_world[:, 0], to_world[:, 1], SHAPE)
        _draw_car(owners[_PATCH], env.car, to_world @ _CENTRES)
        self._palette[TILES:, :3] = np.rint(env.tile_colors)  # a tile that was touched has lost its shade
        return cv2.cvtColor(self._palette.view(np.uint32)[:, 0].take(owners)[..., None].view(np.uint8), cv2.COLOR_RGBA2RGB)


def _draw_car(owners, car, points):
    """Set the pixels of `owners` (H,W) that the car covers; points (2,P) are their centres, in the world, from the hull."""
    hull_x, hull_y = car.hull.position
    # The wheels all at once: where each point is, seen from each wheel, (4,P).
    away = np.array([(x - hull_x, y - hull_y) for x, y in (wheel.position for wheel in car.wheels)])[..., None]
    angles = np.array([wheel.angle for wheel in car.wheels])[:, None]
    across, along = _turned(points[0] - away[:, 0], points[1] - away[:, 1], np.cos(angles), -np.sin(angles))
    beside = np.abs(across) <= _WHEEL_HALF[0]
    stripes = np.array([_stripe(wheel.phase) for wheel in car.wheels])[..., None]
    wheel = (beside & (np.abs(along) <= _WHEEL_HALF[1])).any(axis=0)
    stripe = (beside & (along >= stripes[:, 0]) & (along <= stripes[:, 1])).any(axis=0)

    normals, offsets, first = _HULL
    x, y = _turned(*points, math.cos(car.hull.angle), -math.sin(car.hull.angle))
    hull = np.logical_and.reduceat(normals @ np.stack([x, y]) <= offsets, first).any(axis=0)
    for covered, owner in ((wheel, WHEEL), (stripe, STRIPE), (hull, HULL)):
        owners[covered.reshape(owners.shape)] = owner


def _turned(x, y, cos, sin):
    """The points turned counterclockwise by the angle of that cosine and sine."""
    return x * cos - y * sin, x * sin + y * cos


def _stripe(phase):
    """(back, front) of the grey stripe along a wheel that has turned by `phase`, which spans 1.2 radians of its tread."""
    ends = []
    for angle in (phase, phase + 1.2):
        cos = math.cos(angle)
        ends.append((math.copysign(1, cos) if math.sin(angle) > 0 else cos, math.sin(angle) > 0))
    if all(hidden for _, hidden in ends):  # on the side that faces the ground
        return math.inf, -math.inf
    return tuple(sorted(_WHEEL_HALF[1] * end for end, _ in ends))
