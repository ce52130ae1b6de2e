"""A track as one picture of the whole field: painted once an episode, then sampled by the camera in each frame.

Gymnasium draws the field's 400 grass squares and the road's 400 quads again for each frame, which takes 98% of a step. Nothing
on the ground moves, and only the shade of tiles changes, so one picture serves a whole episode.
"""

import cv2
import numpy as np
from gymnasium.envs.box2d.car_racing import GRASS_DIM, PLAYFIELD

from world_models.env import drawing

PER_UNIT = 3  # pixels per unit of length; with a multiple of 1.5 the grass squares end at pixel edges
SIZE = round(2 * PLAYFIELD * PER_UNIT)
# What a byte of the field says. Tiles have a code each, by which a touched one is found. The codes are used again after 249
# tiles: a multiple of 3, because tiles repeat their three shades.
_GRASS, _LIGHT_GRASS, _TOUCHED, _KERBS, _TILES = 0, 1, 2, 3, 7
_CYCLE = 249


def _empty():
    """The field without a road, (SIZE,SIZE) uint8: light squares of side GRASS_DIM at even positions."""
    light = np.arange(SIZE) // round(GRASS_DIM * PER_UNIT) % 2 == 0
    return np.where(light[:, None] & light, np.uint8(_LIGHT_GRASS), np.uint8(_GRASS))


_EMPTY = _empty()


class TrackImage:
    """The field with the current track painted on it, a byte a pixel: the processor's cache has to hold those of many games."""

    def __init__(self, grass, light_grass, shades):
        """grass, light_grass: RGB colours; shades(colors (...,3)) -> (...,3): the colours to paint instead of Gymnasium's."""
        self._shades = shades
        self._palette = np.zeros((256, 4), np.uint8)  # RGB and an unused byte of each code
        self._palette[[_GRASS, _LIGHT_GRASS], :3] = grass, light_grass
        self._packed = self._palette.view(np.uint32)[:, 0]
        self._pixels, self._boxes = _EMPTY.copy(), []

    def new_track(self, road_poly, tile_colors):
        """Replace the painted track by another.

        road_poly: Gymnasium's list of (quad, colour) in drawing order, in which a tile's colour is an array and a kerb's a
        tuple; tile_colors (tiles, 3) float: the tiles' colours.
        """
        for box in self._boxes:
            self._pixels[box] = _EMPTY[box]
        corners = (np.array([quad for quad, _ in road_poly]) + PLAYFIELD) * PER_UNIT
        lows = np.maximum(np.floor(corners.min(axis=1)).astype(np.int64), 0)
        highs = np.minimum(np.ceil(corners.max(axis=1)).astype(np.int64), SIZE)
        edges = zip(lows.tolist(), highs.tolist(), strict=True)
        self._boxes = [np.s_[top:bottom, left:right] for (left, top), (right, bottom) in edges]
        kerbs = sorted({color for _, color in road_poly if isinstance(color, tuple)})
        codes, tiles = np.empty(len(road_poly), np.uint8), []
        for i, (_, color) in enumerate(road_poly):
            if isinstance(color, tuple):
                codes[i] = _KERBS + kerbs.index(color)
            else:
                codes[i] = _TILES + len(tiles) % _CYCLE
                tiles.append(i)
        self._tiles = tiles
        for i, color in enumerate(kerbs):
            self._palette[_KERBS + i, :3] = self._shades(color)
        self._palette[_TILES + np.arange(len(tiles)) % _CYCLE, :3] = self._shades(tile_colors)
        drawing.paint(self._pixels, corners, np.concatenate([lows, highs], axis=1), codes)
        self._halved = []

    def repaint(self, touched, tile_colors):
        """Paint the tiles of the numbers in the list `touched`, and clear it: such a tile loses its shade."""
        for tile in touched:
            pixels = self._pixels[self._boxes[self._tiles[tile]]]
            pixels[pixels == _TILES + tile % _CYCLE] = _TOUCHED  # not where a later quad was painted over it
            self._palette[_TOUCHED, :3] = self._shades(tile_colors[tile])
        touched.clear()

    def view(self, x, y, to_world, car_at, shape, smooth=False, halvings=0):
        """A picture of the field, (H,W,4) uint8: RGB and an unused byte. Black outside the field.

        x, y: the world coordinates of column and row `car_at` of the picture of `shape` (H,W); to_world: a, b, c, d of the
        matrix [[a, b], [c, d]] from columns and rows to world coordinates. smooth: mix four pixels of the field, instead of
        taking the nearest. halvings: how often the field is halved, to the mean of 2x2 pixels, before that; then it is smooth.
        """
        per_unit = PER_UNIT / 2**halvings
        a, b, c, d = to_world
        column, row = car_at
        x, y = x - (a * column + b * row), y - (c * column + d * row)
        a, b, c, d = a * per_unit, b * per_unit, c * per_unit, d * per_unit
        # Pixel centres are at whole numbers, in both pictures.
        x, y = (x + PLAYFIELD) * per_unit + (a + b) / 2 - 0.5, (y + PLAYFIELD) * per_unit + (c + d) / 2 - 0.5
        if halvings:
            flags = cv2.WARP_INVERSE_MAP | cv2.INTER_LINEAR
            return cv2.warpAffine(self._halved_by(halvings), np.array([[a, b, x], [c, d, y]]), shape[::-1], flags=flags)
        picture = np.empty((*shape, 4), np.uint8)
        drawing.look(self._pixels, self._packed, (a, b, x, c, d, y), smooth, picture.view(np.uint32)[..., 0])
        return picture

    def _halved_by(self, halvings):
        """The field, halved so often. Tiles that are touched later keep their shade in it."""
        if not self._halved:
            self._halved.append(np.empty((SIZE // 2, SIZE // 2, 4), np.uint8))
            drawing.halve(self._pixels, self._packed, self._halved[0].view(np.uint32)[..., 0])
        while len(self._halved) < halvings:
            half = self._halved[-1].shape[0] // 2
            self._halved.append(cv2.resize(self._halved[-1], (half, half), interpolation=cv2.INTER_AREA))
        return self._halved[halvings - 1]
