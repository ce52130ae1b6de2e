"""The picture of Gymnasium's CarRacing-v3, within a fraction of a grey level, drawn by the method of look v0.

Gymnasium draws 1000 x 800 pixels for each frame and averages them to 96 x 96. One bilinear sample of the painted track, whose
pixels are half as large, is nearly the same mean. The dashboard is not drawn.
"""

import math

import cv2
import numpy as np
from gymnasium.envs.box2d.car_racing import SCALE, ZOOM

from world_models.env.car.image import CarImage
from world_models.env.car.track import PER_UNIT, TrackImage

SHAPE = (84, 96)  # rows and columns of the picture
CAR_AT = (48, 72)  # column and row of the hull's position
COLUMNS, ROWS = 96 / 1000, -96 / 800  # pixels per unit of the 1000 x 800 window, whose rows count upwards
_CAR_FINE = 3  # samples of a pixel in each direction, for the car
_FINE = 2  # the same for the field, while the view narrows
_WIDE_UNTIL = 14.0  # the zoom at which this ends; the final zoom is 16.2


def _shown(color):
    """A colour after Gymnasium's averaging, whose fixed-point arithmetic loses two levels."""
    return np.maximum(np.asarray(color).astype(int) - 2, 0)


class LookV3:
    """Draws the state of a CarRacing environment as v3 does. One for each environment: it keeps the episode's track."""

    def __init__(self):
        self._track = TrackImage(_shown((102, 204, 102)), _shown((102, 230, 102)), _shown)
        self._car = CarImage(CAR_AT, *map(_shown, [(0, 0, 0), (77, 77, 77), (204, 0, 0)]), fine=_CAR_FINE)

    def new_track(self, env):
        """Called once an episode, before its first picture."""
        self._track.new_track(env.road_poly, env.tile_colors)

    def picture(self, env):
        """(84, 96, 4) uint8: the first 84 of v3's 96 rows, in RGB and an unused byte."""
        x, y, _, _, hull_angle = env.physics.hull
        # The view narrows from the whole field to the car's surroundings in the first second.
        zoom = 0.1 * SCALE * max(1 - env.t, 0) + ZOOM * SCALE * min(env.t, 1)
        cos, sin = math.cos(-hull_angle), math.sin(-hull_angle)
        columns, rows = zoom * COLUMNS, zoom * ROWS
        to_world = (cos / columns, sin / rows, -sin / columns, cos / rows)  # of (columns, rows) from CAR_AT
        self._track.repaint(env.contacts.touched, env.tile_colors)
        if zoom > _WIDE_UNTIL:
            picture = self._track.view(x, y, to_world, CAR_AT, SHAPE, smooth=True)
        else:
            picture = self._wide(x, y, to_world, zoom)
        self._car.draw(picture, env.physics, to_world)
        return picture

    def _wide(self, x, y, to_world, zoom):
        """The field while a pixel covers many painted ones: from a coarser painting, with several samples a pixel."""
        rows, columns = SHAPE
        halvings = max(0, math.floor(math.log2(PER_UNIT / (zoom * -ROWS * _FINE))))
        to_world, car_at = [v / _FINE for v in to_world], [v * _FINE for v in CAR_AT]
        fine = self._track.view(x, y, to_world, car_at, (rows * _FINE, columns * _FINE), True, halvings)
        return cv2.resize(fine, (columns, rows), interpolation=cv2.INTER_AREA)
