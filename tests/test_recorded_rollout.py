"""CarRacing against a recorded rollout: optimizations must not change what an agent sees or gets."""

import hashlib
import platform

import numpy as np
import pytest

import env
from config import GAMES

# Of 1000 steps in each of two tracks: every frame of the v0 look, every reward, every ending. Trained weights and published
# scores rest on them, so a new hash needs a reason that its commit gives.
RECORDED = {
    "paper": "100e22655f3b9b23007380f32f59e1d2489382036a55ae2d4a529987c64150a1",
    "legacy": "4fb3a73619705d83b401f8b185fd3d021abadbdd4f3994be6332e06a389a6142",
}


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="Box2D's float32 arithmetic is the compiler's own")
@pytest.mark.parametrize("preprocess", RECORDED)
def test_frames_and_rewards_are_those_recorded(preprocess):
    world = env.make(GAMES["carracing"], preprocess=preprocess)
    digest = hashlib.sha256()
    for seed in range(2):
        digest.update(world.reset(seed=seed)[0].tobytes())
        # Full throttle out of the field in one, and swerving, skidding and braking along the road in the other.
        rng = np.random.Generator(np.random.PCG64(seed))
        steering = np.cumsum(rng.integers(-8, 9, 1000)).clip(-64, 64) / (64 << 4 * (1 - seed))
        gas, brake = rng.integers(0, 64, 1000) / (64 << seed), rng.integers(-64, 32, 1000).clip(0) / 64 * seed
        for action in np.stack([steering, gas, brake], axis=1):
            frame, reward, terminated, truncated, _ = world.step(action)
            digest.update(frame.tobytes() + np.array([reward, terminated, truncated], "<f8").tobytes())
    world.close()
    assert digest.hexdigest() == RECORDED[preprocess]
