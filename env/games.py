"""All games: the modules of `env` that have a `GAME`, a config.Game.

The environment variable WORLD_MODELS_GAMES lists further folders with such modules, separated as in PATH.
"""

import importlib
import os
import pkgutil

import gymnasium

import world_models.env as folder

folder.__path__ += [path for path in os.environ.get("WORLD_MODELS_GAMES", "").split(os.pathsep) if path]


def make(game, **keywords):
    """The environment of `game`, a config.Game, without Gymnasium's wrappers: nothing checks calls or counts steps.

    keywords: render_mode, and those of `game.options`.
    """
    return gymnasium.make(game.real_id, disable_env_checker=True, **keywords).unwrapped


def _games():
    """{name: Game} of all modules, in alphabetical order. The first is the default of the scripts."""
    names = [module.name for module in pkgutil.iter_modules(folder.__path__)]
    modules = [importlib.import_module(f"{folder.__name__}.{name}") for name in names if name != "games"]
    return {module.GAME.name: module.GAME for module in modules if hasattr(module, "GAME")}


GAMES = _games()
for _game in GAMES.values():
    gymnasium.register(
        _game.real_id, entry_point=_game.environment, max_episode_steps=_game.max_steps if _game.timeout else None
    )
