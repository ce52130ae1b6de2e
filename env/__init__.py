"""The real worlds as Gymnasium environments that show 64x64x3 uint8 frames, a file a game.

A game is a module of this package that has a `GAME`, a config.Game; `GAMES` has them all. Those of your own may lie in other
folders, which the environment variable WORLD_MODELS_GAMES lists as PATH does. Importing this registers `Game.real_id` of each.
"""

import importlib
import os
import pkgutil

import gymnasium

__path__ += [folder for folder in os.environ.get("WORLD_MODELS_GAMES", "").split(os.pathsep) if folder]


def make(game, **keywords):
    """The real world of `game`, a config.Game, bare: no wrapper checks its calls, and none counts its steps.

    keywords: render_mode, and those of `game.options`.
    """
    return gymnasium.make(game.real_id, disable_env_checker=True, **keywords).unwrapped


def _games():
    """{name: Game} of this package's modules. The first one, in their order, is the scripts' default."""
    modules = [importlib.import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__)]
    return {module.GAME.name: module.GAME for module in modules if hasattr(module, "GAME")}


GAMES = _games()
for _game in GAMES.values():
    gymnasium.register(
        _game.real_id, entry_point=_game.environment, max_episode_steps=_game.max_steps if _game.timeout else None
    )
