"""docs/dream.ipynb: its cells run in order. Jupyter is not needed: they are plain Python."""

import json
import os
import subprocess
import sys

from conftest import ROOT


def test_its_cells_run_and_show_what_they_say(tmp_path):
    cells = json.loads((ROOT / "docs" / "dream.ipynb").read_text())["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    assert len(code) == 10
    check = """
assert score > 100 and drive[0].shape == (64, 64, 3)
assert len(left) == 250 and (left[0] == first[0]).all() and (left[-1] != first[-1]).any()
assert not died or len(dreamed) < 200
"""
    code[6] += "\nfirst = dreamed"
    assert "agent, 1000," in code[9]
    code[9] = code[9].replace("agent, 1000,", "agent, 200,")  # shorter dreams
    (tmp_path / "cells.py").write_text("\n\n".join([*code, check]))
    environment = dict(os.environ, PYTHONPATH=str(ROOT), MPLBACKEND="agg")
    done = subprocess.run([sys.executable, "cells.py"], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("temperature") == 3
