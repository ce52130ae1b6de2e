"""The real worlds as Gymnasium environments that show 64x64x3 uint8 frames, a file a game.

Importing this registers `Game.real_id` of each of `GAMES`, {name: config.Game}; `make` opens one.
"""

from world_models.env.games import GAMES, make

__all__ = ["GAMES", "make"]
