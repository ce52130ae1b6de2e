"""The dream of each game, M as a simulator, as a Gymnasium environment. Importing this registers `Game.dream_id` of each."""

import gymnasium

from world_models.config import GAMES

for _game in GAMES.values():
    if _game.dream_id not in gymnasium.registry:
        gymnasium.register(
            _game.dream_id,
            entry_point="world_models.doomrnn.envs:DreamEnv",
            vector_entry_point="world_models.doomrnn.envs:DreamVectorEnv",
            kwargs={"game": _game.name},
        )
