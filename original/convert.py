"""Convert the original's folder to a run directory, and back.

    python -m original.convert GAME --legacy DIR        DIR, the game's folder in a clone, to runs/GAME-legacy
    python -m original.convert GAME --export DIR        a run to a folder that the original's scripts can read

It lists what it found and what is missing, and checks that writing V and M back changes none of the original's integers.
"""

import os
import shutil
import tempfile
from functools import partial

from world_models.config import GAMES, UserError
from world_models.job.command import CommandLine, run_script
from world_models.job.machine import cores, load_tensorflow
from world_models.job.rundir import Atomic, Stage, digest, read_json, settings_in
from world_models.original.arrays import read_arrays
from world_models.original.export import export_run
from world_models.original.folder import find, places

# {stage of a run: {what a folder of the original can have: its file in that stage}}
STAGES = {
    "vae": {"vae": "vae.keras"},
    "rnn": {"rnn": "rnn.keras", "initial_z": "initial_z.json"},
    "legacy": {"controller": "best.json", "hist": "hist.json", "hist_best": "hist_best.json"},
}


def main(argv=None):
    command_line = CommandLine(__doc__)
    add_legacy_options(command_line)
    command_line.add("--export", metavar="DIR", help="write the run to this folder, for the original's scripts")
    game, args = command_line.parse(argv)
    check_legacy_options(args)
    if bool(args.legacy) == bool(args.export):
        raise UserError("give --legacy DIR to read a folder of the original, or --export DIR to write one")
    load_tensorflow(cores())
    if args.export:
        report = export_run(game, args.run_dir, args.export)
    else:
        report = import_folder(game, args.legacy, args.run_dir, args.controller)
        report += import_data(game, args.legacy, args.run_dir, args.controller)
        report.append("V and M, where they are new, were written back and compared: the same integers")
    print("\n".join(report))


def add_legacy_options(command_line, controller_help="the *.best.json to use, where --legacy has several"):
    """Add --legacy and --controller, for scripts that can start from the original's files."""
    command_line.add(
        "--legacy",
        metavar="DIR",
        help="use V, M and C of the game's folder in a clone of the original (--run-dir is then runs/GAME-legacy)",
    )
    command_line.add("--controller", metavar="FILE", help=controller_help)


def check_legacy_options(args):
    """Raises UserError where --controller is given without --legacy."""
    if args.controller and not args.legacy:
        raise UserError("--controller chooses among the controllers of --legacy DIR: give that too")


def import_folder(game, folder, run_dir, controller=None, world=None):
    """Convert V, M and C in the original's `folder` to the run directory `run_dir`. Existing files are not changed.

    controller: the path of C's file, where `folder` has several. world: "real" or "dream", where C will be used: `folder` must
    have the files which that needs. Returns a report, lines of text.
    Raises UserError, naming the file, where one cannot be converted, and where `run_dir` was made of other files.
    """
    found = find(game, folder, controller)
    needed = {"real": ("vae", "rnn", "controller"), "dream": ("rnn", "initial_z", "controller"), None: ()}[world]
    if world == "dream" and not game.dream_rewards:
        needed += ("vae",)  # without rewards a dream is scored by the decoder's pictures
    missing = [what for what in needed if what not in found]
    if not missing and not found.keys() & {"vae", "rnn", "controller"}:
        missing = ["vae"]
    if missing:
        raise UserError(f"{folder} has no {_places(game, missing[0])}: give the original's {game.original.folder}/, as cloned")
    report, new = [], {}
    for stage, files in STAGES.items():
        sources = {what: found[what] for what in files if what in found}
        if _is_new(folder, run_dir, stage, sources):  # all files are read before the first is written
            new[stage] = sources, {files[what]: _READERS[what](game, path) for what, path in sources.items()}
        report += [f"found      {path} -> {os.path.join(run_dir, stage, files[what])}" for what, path in sources.items()]
        report += [f"not found  {_places(game, what)}" for what in files if what not in found]
    for stage, (sources, savers) in new.items():
        with Stage(run_dir, stage, _settings(sources), seed=0) as opened:
            for file, save in savers.items():
                with Atomic(opened.path(file)) as temporary:
                    save(temporary)
    return report


def _places(game, what):
    return " or ".join(places(game).get(what, (f"log/*.{'best' if what == 'controller' else what}.json",)))


def _settings(sources):
    """A converted stage's settings: they identify its sources, and how the real game has to be rendered for V."""
    return {"preprocess": "legacy", "look": "v0", "legacy": {what: digest(path) for what, path in sources.items()}}


def _is_new(folder, run_dir, stage, sources):
    """Whether `stage` still has to be converted. Raises UserError where it was made of other files than `sources`."""
    there = os.path.join(run_dir, stage)
    if not sources or not os.path.exists(there):
        return bool(sources)
    if settings_in(there).get("legacy") != _settings(sources)["legacy"]:
        raise UserError(f"{there} was not made of the files that {folder} has now: choose another --run-dir, or remove it")
    return not all(os.path.exists(os.path.join(there, STAGES[stage][what])) for what in sources)


def _read_vae(game, path):
    from world_models.vae.vae import ConvVAE

    return _unchanged(path, ConvVAE.from_json(path)).save


def _read_rnn(game, path):
    from world_models.rnn.rnn import MDNRNN

    model = MDNRNN.from_json(path)
    if (model.action_size, model.predicts) != (game.action_size, game.predicts):
        kind = model.action_size, model.predicts
        other = next((name for name, it in GAMES.items() if (it.action_size, it.predicts) == kind), "another game")
        raise UserError(f"{path} is not of {game.name}: its actions have {model.action_size} numbers; try {other}")
    return _unchanged(path, model).save


def _unchanged(path, model):
    """`model`, if writing it gives the integers of the file `path` from which it was read; else raises UserError."""
    with tempfile.TemporaryDirectory() as folder:
        again = os.path.join(folder, "again.json")
        model.save_json(again)
        if read_json(again) != read_json(path):
            raise UserError(f"{path} has integers that do not survive float32 weights: it is not a file of the original")
    return model


def _read_initial_z(game, path):
    read_arrays(path, ("mu", "logvar"))
    return partial(shutil.copyfile, path)


def _read_controller(game, path):
    from world_models.controller.controller import read_params

    read_params(path)
    return partial(shutil.copyfile, path)


def _read_history(game, path):
    from world_models.history import read_history

    read_history(path)
    return partial(shutil.copyfile, path)


_READERS = {
    "vae": _read_vae,
    "rnn": _read_rnn,
    "initial_z": _read_initial_z,
    "controller": _read_controller,
    "hist": _read_history,
    "hist_best": _read_history,
}


def import_data(game, folder, run_dir, controller=None):
    """Take over the recorded episodes in the original's `folder`, as hard links where possible, and the encoded ones.

    controller: that of `import_folder`. Returns a report, lines of text. Raises UserError where a file is not in the original's
    format. Files of `run_dir` that have another origin are not changed.
    """
    found, report = find(game, folder, controller), []
    for what, convert in (("record", _import_record), ("series", _import_series)):
        if what not in found:
            report.append(f"not found  {_places(game, what)}")
            continue
        there = os.path.join(run_dir, what)
        settings = {"preprocess": "legacy", "look": "v0", "legacy": os.path.abspath(found[what])}
        if os.path.exists(there) and settings_in(there).get("legacy") != settings["legacy"]:
            report.append(f"left alone {there}, which is not from {found[what]}")
        else:
            report.append(f"found      {found[what]} -> {there}: {convert(game, found[what], run_dir, settings)}")
    return report


def _import_record(game, source, run_dir, settings):
    from world_models.env.record import link_episodes, list_episodes
    from world_models.vae.frames import episode_length

    paths = list_episodes(source)
    frames = sum(episode_length(path, game.action_size) for path in paths)
    with Stage(run_dir, "record", settings, seed=0) as stage:
        link_episodes(paths, stage.dir)
    return f"{len(paths)} episodes, {frames} frames"


def _import_series(game, source, run_dir, settings):
    from world_models.job.npz import pack
    from world_models.original.series import read_series

    series = read_series(source)
    vae = os.path.join(run_dir, "vae", "vae.keras")
    names = [f"{i:06d}" for i in range(len(series["length"]))]
    with Stage(run_dir, "series", settings, seed=0) as stage:
        made_by = {"vae": digest(vae)} if os.path.exists(vae) else {}  # as it is in the same folder
        pack(stage.path("series.npz"), {**series, "episode": names, **made_by})
    return f"{len(names)} episodes, {series['length'].sum()} frames"


if __name__ == "__main__":
    run_script(main)
