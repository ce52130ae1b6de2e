"""A track as one image: which polygon owns each spot of the field. Drawn once an episode, then looked up for every frame.

Drawing the field's 400 grass squares and the road's 400 quads again for each frame is what makes Gymnasium's renderer take 98%
of a step. Nothing on the ground ever moves and only a tile's shade changes, so an image of owners serves a whole episode.
"""

import itertools

import cv2
import numpy as np
from gymnasium.envs.box2d.car_racing import GRASS_DIM, PLAYFIELD

# What a pixel can show: the fixed things, and from TILES on the road's tiles, each by its own number.
OUTSIDE, GRASS, LIGHT_GRASS, WHITE_KERB, RED_KERB, WHEEL, STRIPE, HULL, TILES = range(9)

PER_UNIT = 3  # image pixels for each unit of length; at a multiple of 1.5 the grass squares end on pixel edges
SIZE = round(2 * PLAYFIELD * PER_UNIT)


def _grass():
    """The empty field, (SIZE, SIZE) uint16: light squares of one `GRASS_DIM` at even places in both directions."""
    place = np.arange(SIZE) // round(GRASS_DIM * PER_UNIT)
    light = place % 2 == 0
    return np.where(light[:, None] & light, LIGHT_GRASS, GRASS).astype(np.uint16)


def fill_polygons(image, polygons, values):
    """Set the pixels of `image` (H,W) whose centres lie in each of the convex `polygons` (N,K,2: column, row), as OpenGL does.

    OpenCV's own filling draws the outline too, which makes each polygon half a pixel too large on every side.
    """
    polygons = np.asarray(polygons)
    lows = np.maximum(np.floor(polygons.min(axis=1)).astype(int), 0)
    highs = np.minimum(np.ceil(polygons.max(axis=1)).astype(int), image.shape[::-1])
    edges = np.roll(polygons, -1, axis=1) - polygons
    offsets = edges[..., 1] * polygons[..., 0] - edges[..., 0] * polygons[..., 1]
    along_x, along_y, offsets = edges[..., 0, None, None], edges[..., 1, None, None], offsets[..., None, None]
    for i, (low, high) in enumerate(zip(lows, highs, strict=True)):
        x, y = np.arange(low[0], high[0]) + 0.5, np.arange(low[1], high[1])[:, None] + 0.5
        left = along_x[i] * y - along_y[i] * x + offsets[i] >= 0  # (K,h,w): is it on the left of that edge
        inside = left.all(axis=0) | ~left.any(axis=0)  # whichever way round the corners go
        image[low[1] : high[1], low[0] : high[0]][inside] = values[i]


class TrackImage:
    """The owner of every spot of one track's field, and views of it."""

    _empty = None  # the field without a road: the same for every track

    def __init__(self, road_poly):
        """road_poly: Gymnasium's list of (quad, colour) in drawing order; a tile's colour is an array, a kerb's a tuple."""
        if TrackImage._empty is None:
            TrackImage._empty = _grass()
        self.owners = TrackImage._empty.copy()
        tiles = itertools.count(TILES)
        kerbs = {(255, 255, 255): WHITE_KERB, (255, 0, 0): RED_KERB}
        owners = [kerbs[color] if isinstance(color, tuple) else next(tiles) for _, color in road_poly]
        fill_polygons(self.owners, (np.array([quad for quad, _ in road_poly]) + PLAYFIELD) * PER_UNIT, owners)

    def view(self, x, y, right, down, shape):
        """The owners (H,W) uint16 at the pixel centres of a picture of `shape`.

        x, y: the world point at the picture's upper left corner; right, down: the world vectors of one pixel that way.
        """
        steps = np.array([right, down]).T * PER_UNIT
        # OpenCV puts a pixel's centre at whole numbers, on both sides.
        corner = (np.array([x, y]) + PLAYFIELD) * PER_UNIT + steps.sum(axis=1) / 2 - 0.5
        return cv2.warpAffine(
            self.owners,
            np.column_stack([steps, corner]),
            shape[::-1],
            flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=OUTSIDE,
        )
