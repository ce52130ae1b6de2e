"""The resize to 64x64, byte for byte against Pillow."""

import numpy as np
import pytest
from PIL import Image

import env
from config import GAMES
from env.preprocess import legacy, paper
from env.resize import resize

GAMES_SIZES = [(84, 96), (400, 640)]
SIZES = pytest.mark.parametrize("shape", [*GAMES_SIZES, (64, 64), (63, 200), (20, 65)], ids=str)


def _pillow(image):
    return np.array(Image.fromarray(image).resize((64, 64), Image.Resampling.BILINEAR))


@SIZES
def test_noise_is_resized_as_pillow_does(shape):
    rng = np.random.default_rng(0)
    for colors in (256, 256, 2, 3, 5, 9):  # the fewer colours there are, the more often a sum is a half
        for _ in range(8):
            image = rng.integers(0, 256, colors, dtype=np.uint8)[rng.integers(0, colors, (*shape, 3))]
            np.testing.assert_array_equal(resize(image), _pillow(image))


@SIZES
def test_flat_pictures_stay_as_they_are(shape):
    for value in range(256):
        assert (resize(np.full((*shape, 3), value, np.uint8)) == value).all()


@pytest.mark.parametrize("game, rows", [("carracing", 350), ("doom", 400)])
def test_frames_are_resized_as_pillow_does(game, rows):
    world = env.make(GAMES[game], render_mode="rgb_array")
    world.reset(seed=0)
    for t in range(40):
        world.step(np.full(GAMES[game].action_size, np.sin(t / 5) / 2 + 0.4))
        screen = world.render()[:rows]
        if game == "carracing":  # the picture for people, at the size that the agent's has
            screen = np.array(Image.fromarray(screen).resize((96, 84), Image.Resampling.BOX))
        np.testing.assert_array_equal(resize(screen), _pillow(screen))
    world.close()


def test_all_pairs_of_bytes_where_two_rows_make_one():
    first, second = (values.ravel() for values in np.meshgrid(np.arange(256), np.arange(256)))
    # Six columns alike: two of the four that they become have nothing of their neighbours.
    first, second = (np.resize(values, (1366, 16, 3)).repeat(6, axis=1).astype(np.uint8) for values in (first, second))
    for pair in zip(first, second, strict=True):
        image = np.stack(pair * 42)
        np.testing.assert_array_equal(resize(image), _pillow(image))


def test_a_fourth_byte_means_nothing():
    rng = np.random.default_rng(1)
    image = rng.integers(0, 256, (84, 96, 4), dtype=np.uint8)
    image[..., :3] //= 3
    image[..., 3] = rng.choice(np.array([0, 255], np.uint8), (84, 96))
    rgb = np.ascontiguousarray(image[..., :3])
    np.testing.assert_array_equal(paper(image), paper(rgb))
    np.testing.assert_array_equal(legacy(image), legacy(rgb))
