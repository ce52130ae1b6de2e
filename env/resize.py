"""Pillow's bilinear resize to 64x64 as matrix products, byte for byte, for the two frame sizes of the games.

Pillow first resizes the rows, rounds to bytes, then resizes the columns. Its weights are fixed-point numbers with 22 fractional
bits. Float32 sums are exact here, so only exact halves need care: Pillow rounds them in the direction in which its own weights
are wrong.
"""

import functools
import threading

import cv2
import numpy as np
from PIL import Image

SIZE = 64
_BLOCKS = 4  # of 16 output rows each: a product with all rows at once would mostly multiply zeros


@functools.cache
def pillow_weights(size):
    """[(first pixel, exact weights (K,), Pillow's weights (K,) as multiples of 2^-22)] of 64 outputs from `size` pixels."""
    scale, outputs = size / SIZE, []
    for output in range(SIZE):
        centre = (output + 0.5) * scale
        first, last = max(int(centre - scale + 0.5), 0), min(int(centre + scale + 0.5), size)
        weights = np.maximum(0, 1 - np.abs((np.arange(first, last) + 0.5 - centre) / scale))
        weights /= weights.sum()
        outputs.append((first, weights, np.floor(weights * 2**22 + 0.5)))
    return outputs


@functools.cache
def _row_weights(size):
    """The weights for 84 or 96 rows, where an output is a sum of 2 or 3 pixels.

    A byte takes 8 of float32's 24 bits, so sums are exact with weights of 16 bits. They round as Pillow's do: a true sum is a
    fraction with a denominator below 60, and the error of these weights is smaller than such a fraction's distance from a half.
    Exact halves occur for 2 pixels only. There the weights are rounded in the same direction as Pillow's.

    Returns (4, 16, K) float32, the weights in 4 overlapping blocks of K rows, and how many rows to add at the top.
    """
    outputs, share, each = pillow_weights(size), SIZE // _BLOCKS, size // _BLOCKS
    starts = [first - i // share * each for i, (first, _, _) in enumerate(outputs)]
    ends = [start + len(weights) for start, (_, weights, _) in zip(starts, outputs, strict=True)]
    above = -min(starts)
    blocks = np.zeros((_BLOCKS, share, max(ends) + above), np.float32)
    for i, (start, (_, exact, fixed)) in enumerate(zip(starts, outputs, strict=True)):
        short = np.rint(exact * 2**16)
        if len(exact) == 2:
            short[0] = np.ceil(exact[0] * 2**16) if fixed[0] > exact[0] * 2**22 else np.floor(exact[0] * 2**16)
            short[1] = 2**16 - short[0]
        blocks[i // share, i % share, above + start : above + start + len(exact)] = short / 2**16
    return blocks, above


def _rows(image):
    """image (H,W,3) uint8 or bytes in float32, resized to (64,W,3): float32, to be truncated to bytes."""
    height, width, _ = image.shape
    weights, above = _row_weights(height)
    each, depth = height // _BLOCKS, weights.shape[2]
    padded = np.empty(((_BLOCKS - 1) * each + depth, width * 3), np.float32)
    padded[:above] = padded[above + height :] = 0
    np.copyto(padded[above : above + height], image.reshape(height, -1))
    line = padded.strides[0]
    sums = weights @ np.ndarray((_BLOCKS, depth, width * 3), np.float32, padded, strides=(each * line, line, 4))
    sums += 0.5
    return sums.reshape(SIZE, width, 3)


def resize_84x96(image):
    """image (84,96,C) uint8 with C=3, or C=4 with an unused fourth channel: resized to (64,64,3) uint8."""
    turned = cv2.transpose(image)
    if image.shape[2] == 4:
        turned = cv2.cvtColor(turned, cv2.COLOR_RGBA2RGB)
    columns = _rows(turned)
    return _rows(cv2.transpose(np.floor(columns, out=columns))).astype(np.uint8)


@functools.cache
def _tenfold_weights():
    """The weights for 640 columns: an output has 20, of which 10 rise (1, 3 .. 19) and 10 fall, in units of 1/200.

    Returns (30, 8) float32: maps 10 pixels of 3 channels to 3 rising sums and a zero, and 3 falling sums and a zero.
    """
    rising = np.arange(1, 20, 2) / 200
    return np.concatenate([np.kron(side[:, None], np.eye(3, 4)) for side in (rising, rising[::-1])], axis=1).astype(np.float32)


_scratch = threading.local()  # 3 MB, kept: allocating them again for each frame would take as long as filling them


def resize_400x640(image):
    """image (400,640,3) uint8 resized to (64,64,3) uint8."""
    height = len(image)
    if not hasattr(_scratch, "pixels"):
        # In groups of 10 pixels. The first starts 5 before the image, as each output overlaps half of its neighbours' columns.
        _scratch.pixels = np.zeros((height * SIZE + 1, 30), np.float32)
        _scratch.groups = np.empty((height * SIZE + 1, 8), np.float32)
    np.copyto(_scratch.pixels.reshape(-1)[15:-15], image.reshape(-1))
    groups = np.matmul(_scratch.pixels, _tenfold_weights(), out=_scratch.groups).reshape(-1)
    sums = groups[:-12] + groups[12:]  # each group's rising sums with the next group's falling sums; the rest is dropped below
    # These are multiples of 1/200. All halves round up, because Pillow's rounding makes each of the 20 weights a little larger.
    sums += 0.5 + 0.5 / 200
    packed = sums.astype(np.uint8).view(np.uint32)[::2]
    columns = np.ascontiguousarray(packed).view(np.uint8).reshape(height, SIZE, 4)
    outputs = pillow_weights(640)
    for output in (0, SIZE - 1):  # as a group overlaps the rows above and below
        first, exact, fixed = outputs[output]
        seen = image[:, first : first + len(exact)].astype(np.float64)
        columns[:, output, :3] = (fixed @ seen + 2**21) // 2**22
    columns = Image.frombuffer("RGBX", (SIZE, height), columns, "raw", "RGBX", 0, 1)
    rows = np.array(columns.resize((SIZE, SIZE), Image.Resampling.BILINEAR))
    return cv2.cvtColor(rows, cv2.COLOR_RGBA2RGB)


RESIZES = {(84, 96): resize_84x96, (400, 640): resize_400x640}
