"""From a cropped frame of a game to the 64x64x3 uint8 that V sees."""

import cv2
import numpy as np

from world_models.config import UserError
from world_models.env.resize import resize


def paper(crop):
    """crop (H,W,3) uint8 resized to (64,64,3) uint8 as in the article: bilinear, antialiased.

    It may have a fourth channel, which is left out.
    """
    return resize(crop)


def legacy(crop):
    """The same, byte for byte as in the authors' released code. Only their released weights need it.

    Two things happen there by accident. `scipy.misc.imresize`, given floats, first stretches the frame's own smallest and
    largest value (over all channels) to 0 and 255. And `((1.0 - obs) * 255).round().astype(np.uint8)`, meant for [0, 1], is
    applied to bytes: not an inversion, but obs - 1 modulo 256.
    """
    if crop.shape[2] == 4:
        crop = cv2.cvtColor(crop, cv2.COLOR_RGBA2RGB)
    values = np.arange(256) / 255.0  # the operations are scipy's, in its order, so that halves round as they did there
    low, high = values[crop.min()], values[crop.max()]
    scale = 255.0 / ((high - low) or 1)
    stretched = (((values - low) * scale).clip(0, 255) + 0.5).astype(np.uint8)
    return paper(cv2.LUT(crop, stretched)) - np.uint8(1)


MODES = {"paper": paper, "legacy": legacy}
OPTION = tuple(MODES), "frames as in the article, or as in the authors' code, which their weights need"  # of a game


def preprocessing(name):
    """The function `paper` or `legacy`. Raises UserError for another name."""
    if name not in MODES:
        raise UserError(f"there is no preprocessing {name!r}: choose one of {', '.join(MODES)}")
    return MODES[name]
