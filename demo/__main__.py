"""The article's interactive demos in a browser: writes a folder of static files and serves it.   python -m demo

--out writes the folder alone, for any static host. --run-dir shows a run of your own instead of the pretrained agents.
"""

import argparse
import functools
import glob
import http.server
import os
import tempfile

from world_models.config import GAMES, UserError, scaled
from world_models.job.command import Parser, run_script
from world_models.job.machine import load_tensorflow
from world_models.job.rundir import pretrained


def main(argv=None):
    parser = Parser(description=__doc__, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("game", nargs="?", help=f"show this game alone: {', '.join(GAMES)} (default: all pretrained ones)")
    parser.add_argument("--run-dir", help="show this run of GAME instead of the pretrained one")
    parser.add_argument("--out", metavar="DIR", help="write the folder here, and do not serve it")
    parser.add_argument("--port", type=int, default=8000, help="port of 127.0.0.1; 0 takes a free one (default: 8000)")
    args = parser.parse_args(argv)
    if args.run_dir and not args.game:
        raise UserError("--run-dir is a run of one game: name the game too, as in `python -m demo GAME --run-dir DIR`")
    if not 0 <= args.port < 65536:
        raise UserError(f"--port is {args.port}: give a number from 0 to 65535")
    load_tensorflow(1)
    from world_models.demo.export import export

    if args.out:
        export(args.out, runs(args.game, args.run_dir))
        print(f"wrote {args.out}: {_megabytes(args.out):.1f} MB")
        return
    with tempfile.TemporaryDirectory(prefix="world-models-demo-") as folder:
        export(folder, runs(args.game, args.run_dir))
        with server(folder, args.port) as serving:
            print(f"http://127.0.0.1:{serving.server_port}/ ({_megabytes(folder):.1f} MB); Ctrl-C ends it", flush=True)
            serving.serve_forever()


def runs(name=None, run_dir=None):
    """{key: (Game, run directory)} to show: of game `name`, or of all that are in pretrained/.

    A game's key is its name. A run that has rounds (iterate.py) is shown after the first and the last one, as NAME-first and
    NAME-last. Where the run itself has an agent, that is the last one.
    """
    names = [name] if name else [name for name in GAMES if os.path.isdir(pretrained(name))]
    if not names:
        raise UserError("there are no pretrained agents here to show: name a game and its run, GAME --run-dir DIR")
    found = {}
    for name in names:
        game, folder = scaled(name), run_dir or pretrained(name)
        rounds = sorted(glob.glob(os.path.join(folder, "rounds", "[0-9]*")))
        rounds = [path for path in rounds if os.path.exists(os.path.join(path, "controller", "best.json"))]  # the finished ones
        if rounds:
            last = folder if os.path.isdir(os.path.join(folder, "controller")) else rounds[-1]
            found |= {f"{name}-first": (game, rounds[0]), f"{name}-last": (game, last)}
        else:
            found[name] = game, folder
    return found


def server(folder, port):
    """An HTTP server of `folder` on 127.0.0.1. Raises UserError where the port is taken."""
    try:
        return http.server.ThreadingHTTPServer(("127.0.0.1", port), functools.partial(_Quiet, directory=folder))
    except OSError as error:
        raise UserError(f"port {port} cannot be used ({error.strerror}): give another --port, or 0 for a free one") from None


class _Quiet(http.server.SimpleHTTPRequestHandler):
    extensions_map = {**http.server.SimpleHTTPRequestHandler.extensions_map, ".js": "text/javascript"}

    def log_message(self, *_):
        pass


def _megabytes(folder):
    paths = glob.glob(os.path.join(folder, "**"), recursive=True)
    return sum(os.path.getsize(path) for path in paths if os.path.isfile(path)) / 1e6


if __name__ == "__main__":
    run_script(main)
