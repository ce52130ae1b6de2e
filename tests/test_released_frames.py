"""Frames of our games with `legacy` preprocessing against the frames that the authors published: colours, and the car."""

from collections import Counter

import numpy as np
import pytest
from conftest import LEGACY, needs_released
from PIL import Image

import env
from config import GAMES
from env.policies import extraction_policy, play

needs_frames = needs_released("frames", "github.com/worldmodels/worldmodels.github.io, demo/cardata and demo/doomdata")
GRASS, LIGHT_GRASS = (101, 203, 101), (101, 228, 101)
ROAD = {(101, 101, 101), (104, 104, 104), (106, 106, 106)}  # touched tiles, and two shades of untouched ones
# Where no kerb is in view, that code's preprocessing stretches the colours until the grass is as bright as a kerb.
STRETCHED_GRASS, STRETCHED_LIGHT_GRASS = (113, 226, 113), (113, 254, 113)
STRETCHED_ROAD = {(113, 113, 113), (116, 116, 116), (118, 118, 118)}
OUTSIDE = (255, 255, 255)
CAR = (slice(51, 59), slice(29, 35))


def _released(game):
    """The published frames (N,64,64,3) of a game."""
    paths = sorted((LEGACY / "frames" / game).glob("*.png"))
    return np.array([np.array(Image.open(path).convert("RGB")) for path in paths])


@pytest.fixture(scope="module")
def released():
    return _released("carracing")


@pytest.fixture(scope="module")
def ours():
    """Frames (N,64,64,3) of the first step, and of driving straight on from the start, on twelve tracks."""
    world = env.make(GAMES["carracing"], preprocess="legacy")
    frames = []
    for seed in range(12):
        frames.append(world.reset(seed=seed)[0])
        for t in range(100):
            frame, *_ = world.step(np.array([0, 0.2, 0]))
            if t > 60 and t % 6 == 0:
                frames.append(frame)
    world.close()
    return np.array(frames)


def _colors(frame):
    """The colours with 100 pixels or more, the most frequent first."""
    return [color for color, count in Counter(map(tuple, frame.reshape(-1, 3).tolist())).most_common() if count >= 100]


@pytest.mark.parametrize("whose", [pytest.param("released", marks=needs_frames), "ours"])
def test_palettes(whose, request):
    near = [colors for colors in map(_colors, request.getfixturevalue(whose)) if colors[0] != OUTSIDE]
    plain = [set(colors) for colors in near if colors[0] == GRASS and LIGHT_GRASS in colors]
    stretched = [set(colors) for colors in near if colors[0] == STRETCHED_GRASS]
    assert len(near) > 20 and len(plain) > 5 and len(stretched) > 5
    assert ROAD <= set.union(*plain) and STRETCHED_ROAD <= set.union(*stretched)
    assert not set.union(*plain) & {STRETCHED_GRASS, STRETCHED_LIGHT_GRASS} and STRETCHED_LIGHT_GRASS in set.union(*stretched)


@needs_frames
def test_black_outside_of_the_field_is_255(released, ours):
    for frames in (released, ours):
        wide = [frame for frame in frames if _colors(frame)[0] == OUTSIDE]
        assert wide and wide[0].min() < 60  # beside it pixels that are partly black, as the field's edge has them


@needs_frames
def test_the_car_has_the_released_shape_and_size(released, ours):
    cars = released[(slice(None), *CAR)].astype(int)
    straight = [frame for frame in ours if _colors(frame)[0] in (GRASS, STRETCHED_GRASS)]
    nearest = [np.abs(cars - frame[CAR]).mean(axis=(1, 2, 3)).min() for frame in straight]
    assert len(straight) > 20 and np.median(nearest) < 0.5


@needs_frames
def test_doom_is_as_bright_as_released():
    released, world = _released("doom"), env.make(GAMES["doom"], preprocess="legacy")
    frames = []
    for seed in range(6):
        act = extraction_policy(GAMES["doom"], np.random.default_rng(seed))
        obs = play(world, act, seed, 300)[0]
        frames.extend(obs[:: max(1, len(obs) // 10)])
    world.close()
    assert len(released) > 20 and abs(np.mean(frames) - released.mean()) < 3
