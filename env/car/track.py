"""A track as one picture of the whole field: painted once an episode, then sampled by the camera in each frame.

Gymnasium draws the field's 400 grass squares and the road's 400 quads again for each frame, which takes 98% of a step. Nothing
on the ground moves, and only the shade of tiles changes, so one picture serves a whole episode.
"""

import cv2
import numpy as np
from gymnasium.envs.box2d.car_racing import GRASS_DIM, PLAYFIELD

PER_UNIT = 3  # pixels per unit of length; with a multiple of 1.5 the grass squares end at pixel edges
SIZE = round(2 * PLAYFIELD * PER_UNIT)
_CODES = 255  # the byte that a colour leaves free holds 1 + the tile's number modulo this; 0 is no tile


def rgbx(color, filler=0):
    """An RGB colour, 3 numbers in 0..255, and a fourth byte, packed into a uint32."""
    return np.array([*color, filler], np.uint8).view(np.uint32)[0]


def empty_field(grass, light_grass):
    """The field without a road, (SIZE, SIZE) uint32 of `rgbx`: light squares of side GRASS_DIM at even positions."""
    light = np.arange(SIZE) // round(GRASS_DIM * PER_UNIT) % 2 == 0
    return np.where(light[:, None] & light, rgbx(light_grass), rgbx(grass))


class Quads:
    """Convex polygons to paint, with corners in either order. A pixel is inside where its centre is, as in OpenGL.

    OpenCV's own filling also draws the outline, which makes polygons half a pixel too large on every side.
    """

    def __init__(self, quads):
        """quads (N,K,2): the corners in world coordinates."""
        corners = (np.asarray(quads) + PLAYFIELD) * PER_UNIT
        lows = np.maximum(np.floor(corners.min(axis=1)).astype(int), 0).tolist()
        highs = np.minimum(np.ceil(corners.max(axis=1)).astype(int), SIZE).tolist()
        self.boxes = [(slice(low[1], high[1]), slice(low[0], high[0])) for low, high in zip(lows, highs, strict=True)]
        edges = np.roll(corners, -1, axis=1) - corners
        self._offsets = (edges[..., 1] * corners[..., 0] - edges[..., 0] * corners[..., 1])[..., None, None]
        self._x, self._y = edges[..., 0, None, None], edges[..., 1, None, None]

    def inside(self, i):
        """The box of quad i and which of its pixels are inside, (h,w) bool."""
        rows, columns = box = self.boxes[i]
        x, y = np.arange(columns.start, columns.stop) + 0.5, np.arange(rows.start, rows.stop)[:, None] + 0.5
        left = self._x[i] * y - self._y[i] * x + self._offsets[i] >= 0  # (K,h,w): whether the pixel is to the left of that edge
        return box, left.all(axis=0) | ~left.any(axis=0)


class TrackImage:
    """The field with the current track painted on it."""

    def __init__(self, empty, shades):
        """empty: the result of `empty_field`, which may be shared; shades(colors (...,3)) -> (...,3): the colours to paint."""
        self._empty, self._shades = empty, shades
        self._pixels, self._painted = empty.copy(), []
        self._halved = []

    def new_track(self, road_poly, tile_colors):
        """Replace the painted track by another.

        road_poly: Gymnasium's list of (quad, colour) in drawing order, in which a tile's colour is an array and a kerb's a
        tuple; tile_colors (tiles, 3) float: the tiles' colours, which later calls of `update` compare with.
        """
        for box in self._painted:
            self._pixels[box] = self._empty[box]
        self._quads = Quads([quad for quad, _ in road_poly])
        self._painted = self._quads.boxes
        self._tiles = [i for i, (_, color) in enumerate(road_poly) if not isinstance(color, tuple)]
        values = [rgbx(self._shades(color)) if isinstance(color, tuple) else None for _, color in road_poly]
        for tile, (i, shade) in enumerate(zip(self._tiles, self._shades(tile_colors), strict=True)):
            values[i] = rgbx(shade, 1 + tile % _CODES)
        for i, value in enumerate(values):
            box, inside = self._quads.inside(i)
            self._pixels[box][inside] = value
        self._seen = tile_colors.copy()
        self._seen_bytes = self._seen.tobytes()
        self._halved = [self._pixels.view(np.uint8).reshape(SIZE, SIZE, 4)]

    def update(self, tile_colors):
        """Repaint the tiles whose colours have changed: a touched tile loses its shade."""
        if tile_colors.tobytes() == self._seen_bytes:
            return
        for tile in np.flatnonzero((tile_colors != self._seen).any(axis=1)):
            pixels = self._pixels[self._quads.boxes[self._tiles[tile]]]
            code = 1 + tile % _CODES
            mine = pixels.view(np.uint8)[:, 3::4] == code  # not where a later quad was painted over it
            pixels[mine] = rgbx(self._shades(tile_colors[tile]), code)
        self._seen = tile_colors.copy()
        self._seen_bytes = self._seen.tobytes()

    def view(self, x, y, to_world, car_at, shape, sampling=cv2.INTER_NEAREST, halvings=0):
        """A picture of the field, (H,W,4) uint8: RGB and an unused byte. Black outside the field.

        x, y: the world coordinates of column and row `car_at` of the picture of `shape` (H,W); to_world: a, b, c, d of the
        matrix [[a, b], [c, d]] from columns and rows to world coordinates. sampling: OpenCV's interpolation flag; halvings:
        how often the field is halved, to the mean of 2x2 pixels, before it is sampled.
        """
        while len(self._halved) <= halvings:  # tiles that are touched later keep their shade in these
            half = self._halved[-1].shape[0] // 2
            self._halved.append(cv2.resize(self._halved[-1], (half, half), interpolation=cv2.INTER_AREA))
        per_unit = PER_UNIT / 2**halvings
        a, b, c, d = to_world
        column, row = car_at
        x, y = x - (a * column + b * row), y - (c * column + d * row)
        a, b, c, d = a * per_unit, b * per_unit, c * per_unit, d * per_unit
        # OpenCV has pixel centres at whole numbers, in both pictures.
        x, y = (x + PLAYFIELD) * per_unit + (a + b) / 2 - 0.5, (y + PLAYFIELD) * per_unit + (c + d) / 2 - 0.5
        return cv2.warpAffine(
            self._halved[halvings],
            np.array([[a, b, x], [c, d, y]]),
            shape[::-1],
            flags=sampling | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=0,
        )
