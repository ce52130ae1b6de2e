"""Whether the car is on the road, from the picture alone."""

import numpy as np
import pytest

import env
from config import GAMES
from env.car.on_road import LEFT, WIDE, driven, on_road
from env.policies import extraction_policy

CAR = GAMES["carracing"]


@pytest.mark.parametrize("look", ["v0", "v3"])
def test_picture_and_wheels_agree(look):
    """The wheels that touch the road's tiles, from the physics. The random policy leaves the road, sometimes the field."""
    world, pictures, wheels = env.make(CAR, look=look), [], []
    for seed in range(8):
        act = extraction_policy(CAR, np.random.default_rng(seed))
        world.reset(seed=seed)
        for t in range(400):
            frame = world.step(act(t))[0]
            if t >= WIDE and t % 4 == 0:
                pictures.append(frame)
                wheels.append(sum(bool(wheel.tiles) for wheel in world.car.wheels))
    world.close()
    by_wheels = np.array(wheels) >= 2
    assert 0.3 < by_wheels.mean() < 0.7
    assert (on_road(np.array(pictures)) == by_wheels).mean() > 0.97


def test_a_car_has_left_when_it_stays_away():
    on = np.ones((400, 4), bool)
    on[:WIDE] = False  # not judged
    on[100 : 100 + LEFT - 1, 0] = False  # it cuts a corner
    on[200 : 200 + LEFT, 1] = False
    on[WIDE:, 2] = False
    on[400 - LEFT :, 3] = False  # at the end
    steps, share = driven(on)
    assert steps.tolist() == [400, 200, WIDE, 400 - LEFT]
    np.testing.assert_allclose(share, 1 - np.array([LEFT - 1, LEFT, 400 - WIDE, LEFT]) / (400 - WIDE))
