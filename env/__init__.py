"""The real games as Gymnasium environments with observations (64,64,3) uint8, one file a game.

Importing this registers `Game.real_id` of each of `GAMES`, {name: config.Game}. `make` creates an environment.
"""

from world_models.env.games import GAMES, make

__all__ = ["GAMES", "make"]
