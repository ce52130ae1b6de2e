"""M as a world: the dream as a Gymnasium environment, and whole populations of dreams at once.

Importing this registers `WorldModels/DoomRNN-v0` and `WorldModels/CarRacingDream-v0`.
"""

import gymnasium

from config import GAMES

for _game in GAMES.values():
    if _game.dream_id not in gymnasium.registry:
        gymnasium.register(
            _game.dream_id,
            entry_point="doomrnn.envs:DreamEnv",
            vector_entry_point="doomrnn.envs:DreamVectorEnv",
            kwargs={"game": _game.name},
        )
