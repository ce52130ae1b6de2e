"""Checks of the actions that environments are given."""

import math

import numpy as np

from world_models.config import UserError


def checked_action(action, size):
    """`action` as an array (size,) float64. Raises UserError where it has another shape or is not finite numbers."""
    try:
        array = np.asarray(action, np.float64)
    except (TypeError, ValueError):
        raise UserError(f"an action is {size} numbers: got {action!r}") from None
    if array.shape != (size,):
        raise UserError(f"an action has the shape ({size},): got one of shape {array.shape}")
    if not all(map(math.isfinite, array.tolist())):  # of so few numbers, quicker than NumPy
        raise UserError(f"an action is {size} finite numbers: got {array.tolist()}")
    return array
