"""The real worlds: CarRacing and Doom's Take Cover as Gymnasium environments that show 64x64x3 uint8 frames.

Importing this registers `WorldModels/CarRacing-v0` and `WorldModels/DoomTakeCover-v0`. The games themselves, Box2D and
ViZDoom, are loaded when an environment is made.
"""

import gymnasium
import numpy as np

from config import GAMES, UserError

# Take Cover ends by itself: its timeout is the game's own.
gymnasium.register(
    GAMES["carracing"].real_id, entry_point="env.gymnasium_car:car_racing", max_episode_steps=GAMES["carracing"].max_steps
)
gymnasium.register(GAMES["doom"].real_id, entry_point="env.doom:DoomTakeCover")


def make(game, **keywords):
    """The real world of `game`, a config.Game, bare: no wrapper checks its calls, and none counts its steps.

    keywords: preprocess="paper" or "legacy", render_mode, and for the car look="v0", "v3", or "gymnasium".
    """
    return gymnasium.make(game.real_id, disable_env_checker=True, **keywords).unwrapped


def checked_action(action, size):
    """`action` as an array (size,) float64. Raises UserError where it has another shape or is not finite numbers."""
    try:
        array = np.asarray(action, np.float64)
    except (TypeError, ValueError):
        raise UserError(f"an action is {size} numbers: got {action!r}") from None
    if array.shape != (size,):
        raise UserError(f"an action has the shape ({size},): got one of shape {array.shape}")
    if not np.isfinite(array).all():
        raise UserError(f"an action is {size} finite numbers: got {array.tolist()}")
    return array
