"""What the published agents saw: the picture of CarRacing-v0 (Gym 0.9.4), which later versions changed.

Against Gymnasium's v3 the camera sees more of the field, looks where the car is going instead of where it points, stretches
the two directions differently, and samples each pixel at its centre alone (OpenGL without antialiasing). Rows 84-95, the
dashboard, are not drawn: preprocessing crops them.
"""

import math

import numpy as np
from gymnasium.envs.box2d.car_racing import SCALE, ZOOM

from world_models.env.car.image import CarImage
from world_models.env.car.track import TrackImage

SHAPE = (84, 96)  # rows and columns of the picture
CAR_AT = (48, 72)  # column and row of the hull's position
COLUMNS, ROWS = 96 / 1200, -96 / 1000  # pixels per unit of the 1200 x 1000 window, whose rows count upwards

GRASS, LIGHT_GRASS = (102, 204, 102), (102, 229, 102)
WHEEL, STRIPE, HULL = (0, 0, 0), (77, 77, 77), (204, 0, 0)


class LookV0:
    """Draws the state of a CarRacing environment as v0 did. One for each environment: it keeps the episode's track."""

    def __init__(self):
        self._track = TrackImage(GRASS, LIGHT_GRASS, np.rint)
        self._car = CarImage(CAR_AT, WHEEL, STRIPE, HULL)

    def new_track(self, env):
        """Called once an episode, before its first picture."""
        self._track.new_track(env.road_poly, env.tile_colors)

    def picture(self, env):
        """(84, 96, 4) uint8: the first 84 of v0's 96 rows, in RGB and an unused byte."""
        x, y, velocity_x, velocity_y, hull_angle = env.physics.hull
        angle = math.atan2(velocity_x, velocity_y) if math.hypot(velocity_x, velocity_y) > 0.5 else -hull_angle
        # The view narrows from the whole field to the car's surroundings in the first second.
        zoom = 0.1 * SCALE * max(1 - env.t, 0) + ZOOM * SCALE * min(env.t, 1)
        cos, sin = math.cos(angle), math.sin(angle)
        columns, rows = zoom * COLUMNS, zoom * ROWS
        to_world = (cos / columns, sin / rows, -sin / columns, cos / rows)  # of (columns, rows) from CAR_AT
        self._track.repaint(env.contacts.touched, env.tile_colors)
        picture = self._track.view(x, y, to_world, CAR_AT, SHAPE)
        self._car.draw(picture, env.physics, to_world)
        return picture
