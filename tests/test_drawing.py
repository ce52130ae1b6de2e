"""env/drawing.cpp: the field of CarRacing, looked at as OpenCV does it, and what it refuses."""

import cv2
import numpy as np
import pytest

from env import drawing

SIDE = 300


@pytest.fixture
def field():
    """(codes (SIDE,SIDE) uint8 in squares, palette (256,) uint32)"""
    rng = np.random.default_rng(0)
    squares = rng.integers(0, 256, (SIDE // 5, SIDE // 5), np.uint8).repeat(5, axis=0).repeat(5, axis=1)
    return np.ascontiguousarray(squares), rng.integers(0, 2**32, 256, np.uint32)


@pytest.mark.parametrize("smooth, sampling", [(False, cv2.INTER_NEAREST), (True, cv2.INTER_LINEAR)])
def test_a_view_is_opencvs(field, smooth, sampling):
    codes, palette = field
    colors = palette[codes].view(np.uint8).reshape(SIDE, SIDE, 4)
    rng, picture, black = np.random.default_rng(1), np.empty((84, 96), np.uint32), 0
    for _ in range(200):
        angle, scale, (x, y) = rng.uniform(0, 7), rng.uniform(0.3, 6), rng.uniform(-SIDE, 2 * SIDE, 2)
        matrix = scale * np.array([[np.cos(angle), np.sin(angle), 0], [-np.sin(angle), 0.8 * np.cos(angle), 0]])
        matrix[:, 2] = x, y
        expected = cv2.warpAffine(colors, matrix, (96, 84), flags=sampling | cv2.WARP_INVERSE_MAP)
        drawing.look(codes, palette, tuple(matrix.ravel()), smooth, picture)
        np.testing.assert_array_equal(picture, expected.view(np.uint32)[..., 0])
        black += (picture == 0).mean()
    assert 50 < black < 180  # views of the field, and of what is beyond its edges


def test_a_halved_field_is_opencvs(field):
    codes, palette = field
    picture = np.empty((SIDE // 2, SIDE // 2), np.uint32)
    drawing.halve(codes, palette, picture)
    colors = palette[codes].view(np.uint8).reshape(SIDE, SIDE, 4)
    expected = cv2.resize(colors, (SIDE // 2, SIDE // 2), interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(picture, expected.view(np.uint32)[..., 0])


def test_polygons_are_painted_in_order_and_with_their_corners_in_either_order():
    square = np.array([[2, 2], [8, 2], [8, 8], [2, 8]], float)
    quads = np.stack([square, square[::-1] + [3, 0]])
    field = np.zeros((12, 12), np.uint8)
    drawing.paint(field, quads, np.array([[2, 2, 8, 8], [5, 2, 11, 8]]), np.array([1, 2], np.uint8))
    expected = np.zeros((12, 12), np.uint8)
    expected[2:8, 2:8] = 1
    expected[2:8, 5:11] = 2
    np.testing.assert_array_equal(field, expected)


BYTES, PALETTE, PICTURE = np.zeros((8, 8), np.uint8), np.zeros(256, np.uint32), np.zeros((4, 4), np.uint32)
IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
RESIZED = np.zeros((4, 4, 3), np.uint8)
FIRST, WEIGHTS = np.zeros(4, np.int32), np.zeros((4, 2), np.int32)


@pytest.mark.parametrize(
    "function, arguments, error",
    [
        ("look", (BYTES, PALETTE, IDENTITY, False), TypeError),
        ("look", (BYTES.astype(float), PALETTE, IDENTITY, False, PICTURE), ValueError),
        ("look", (BYTES, PALETTE[:200], IDENTITY, False, PICTURE), ValueError),
        ("look", (BYTES, PALETTE, IDENTITY[:5], False, PICTURE), ValueError),
        ("look", (BYTES, PALETTE, ("x",) * 6, False, PICTURE), TypeError),
        ("look", (BYTES, PALETTE, IDENTITY, False, PICTURE[:, ::2]), ValueError),
        ("halve", (BYTES, PALETTE, PICTURE[:3]), ValueError),
        ("paint", (BYTES, np.zeros((1, 4, 2)), np.array([[0, 0, 9, 9]]), np.zeros(1, np.uint8)), ValueError),
        ("paint", (BYTES, np.zeros((1, 9, 2)), np.array([[0, 0, 8, 8]]), np.zeros(1, np.uint8)), ValueError),
        ("resize", (np.zeros((8, 8, 5), np.uint8), FIRST, WEIGHTS, FIRST, WEIGHTS, RESIZED), ValueError),
        (
            "resize",
            (np.zeros((8, 8, 3), np.uint8), FIRST + 7, WEIGHTS, FIRST, WEIGHTS, np.zeros((4, 4, 3), np.uint8)),
            ValueError,
        ),
        ("resize", (np.zeros((8, 8, 3), np.uint8), FIRST, WEIGHTS, FIRST, WEIGHTS, np.zeros((4, 5, 3), np.uint8)), ValueError),
    ],
)
def test_what_does_not_fit_is_refused(function, arguments, error):
    with pytest.raises(error):
        getattr(drawing, function)(*arguments)
