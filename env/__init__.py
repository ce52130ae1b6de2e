"""The real games as Gymnasium environments with observations (64,64,3) uint8, one file a game.

Importing this registers `Game.real_id` of each of `GAMES`, {name: config.Game}. `make` creates an environment.
"""

from world_models.config import UserError

try:
    from world_models.env import drawing  # noqa: F401
except ImportError as error:
    raise UserError("env/drawing.cpp is not compiled for this Python: run `make install`") from error

from world_models.env.games import GAMES, make  # noqa: E402

__all__ = ["GAMES", "make"]
