"""history.py: the table and the picture of training histories, the authors' and this project's."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from conftest import LEGACY, needs_released, run_script

from config import UserError
from controller.evolution import Evolution
from controller.training import Training
from history import GENERATIONS, compare, draw, labels, read_history, table

needs_logs = needs_released("doomrnn", "github.com/hardmaru/WorldModelsExperiments, carracing/log and doomrnn/log")
# The authors' logs as they are published: {generation: (hours, mean of the population)}.
PUBLISHED = {
    "carracing": {
        **{1: (0.65, -55), 5: (3.0, 41), 10: (6.1, 308), 25: (15, 668), 50: (29, 767), 100: (58, 799)},
        **{200: (114, 823), 400: (248, 850), 600: (383, 864), 1000: (629, 882), 1800: (1119, 890)},
    },
    "doomrnn": {
        **{1: (0.02, 305), 5: (0.06, 350), 10: (0.11, 355), 25: (0.32, 476), 50: (0.81, 686), 100: (1.8, 698)},
        **{200: (4.0, 769), 400: (8.4, 758), 600: (13, 840), 1000: (26, 872), 1800: (54, 897)},
    },
}
# {generation: score of the CMA mean over 1024 episodes}
PUBLISHED_MEANS = {
    "carracing": {25: 823, 50: 867, 100: 867, 200: 880, 375: 885, 625: 895, 1025: 894, 1800: 900.46},
    "doomrnn": {25: 701, 50: 701, 100: 791, 200: 790, 625: 868, 1025: 862, 1800: 891},
}


def log(name, kind):
    return str(LEGACY / name / f"{name}.cma.16.64.{kind}.json")


def cells(text, column):
    """{generation: (score, hours)} of a column of the table, counted from 0, as printed."""
    rows = {}
    for line in text.split("hours\n")[-1].splitlines():
        score, hours = line[10 + 29 * column :][:29].split()[-2:] or (None, None)
        rows[int(line[:10])] = float(score), float(hours)
    return rows


@pytest.fixture
def run(tmp_path):
    """A run's controller folder, as train.py leaves it after 10 generations with an evaluation every 4."""
    folder = tmp_path / "runs" / "carracing" / "controller"
    folder.mkdir(parents=True)
    training = Training(Evolution(np.zeros(3), population=4, sigma_init=0.1, seed=0))
    for generation in range(1, 11):
        training.seconds += 90.5
        training.add_generation(np.array([-2.0, 0.0, 2.0, 4.0]) + 10 * generation, np.full(4, 30.0))
        if generation % 4 == 0:
            training.add_evaluation(11.5 * generation)
    training.save(folder)
    return folder


@needs_logs
@pytest.mark.parametrize("name", PUBLISHED)
def test_the_table_of_a_released_log_is_the_published_one(name):
    printed = cells(table([read_history(log(name, "hist"))]), 0)
    assert list(printed) == list(PUBLISHED[name]) == list(GENERATIONS)
    for generation, (hours, score) in PUBLISHED[name].items():
        assert abs(printed[generation][0] - score) <= 0.55
        assert printed[generation][1] == pytest.approx(hours, rel=0.03, abs=0.005)


@needs_logs
@pytest.mark.parametrize("name", PUBLISHED_MEANS)
def test_the_released_evaluations_are_the_published_ones(name):
    history = read_history(log(name, "hist_best"))
    assert history.deviations is None and len(history.scores) == 72
    for generation, score in PUBLISHED_MEANS[name].items():
        row = history.row(generation)
        assert history.generations[row] == generation and abs(history.scores[row] - score) <= 0.55
    assert list(cells(table([history]), 0)) == [25, 50, 100, 200, 400, 600, 1000, 1800]
    assert history.row(12) is None and history.generations[history.row(13)] == 25  # half the way from row to row


@needs_logs
def test_the_picture_has_the_data_of_all_files_in_both_panels():
    paths = [log(name, kind) for name in PUBLISHED for kind in ("hist", "hist_best")]
    figure = draw([read_history(path) for path in paths])
    by_generation, by_hours = figure.axes
    assert (by_generation.get_xlabel(), by_hours.get_xlabel()) == ("generation", "hours")
    assert by_generation.get_ylim() == by_hours.get_ylim()
    for i, path in enumerate(paths):
        rows = json.loads(Path(path).read_text())
        expected = [row[5] if "hist_best" in path else row[2] for row in rows]
        for axes, x in ((by_generation, [row[0] for row in rows]), (by_hours, [row[1] / 3600 for row in rows])):
            line = axes.lines[i]
            np.testing.assert_allclose(line.get_xdata(), x)
            np.testing.assert_allclose(line.get_ydata(), expected)
            assert line.get_marker() == ("o" if "hist_best" in path else ".")
            assert line.get_label().startswith(Path(path).name)
    colours = [line.get_color() for line in by_hours.lines]
    assert colours[0] == colours[1] != colours[2] == colours[3]


def test_what_a_run_writes_is_read_and_drawn_with_a_band_of_one_deviation(run):
    population, means = (read_history(str(run / name)) for name in ("hist.json", "hist_best.json"))
    np.testing.assert_array_equal(population.generations, range(1, 11))
    np.testing.assert_array_equal(population.scores, [10 * g + 1 for g in range(1, 11)])
    np.testing.assert_array_equal(population.hours, [int(90.5 * g) / 3600 for g in range(1, 11)])
    np.testing.assert_array_equal(means.scores, [46, 92])
    figure = draw([population, means])
    band = figure.axes[1].collections[0].get_paths()[0].get_extents()
    np.testing.assert_allclose([band.y0, band.y1], [11 - 2.23, 101 + 2.23])  # sqrt(5), cut off as the original does
    np.testing.assert_allclose([band.x0, band.x1], [90 / 3600, 905 / 3600])


def test_the_table_puts_files_side_by_side_and_names_another_generation(run):
    text = table([read_history(str(run / name)) for name in ("hist_best.json", "hist.json")])
    assert text.startswith("[1] hist_best.json: CMA mean\n[2] hist.json: mean of the population\n")
    assert cells(text, 1) == {1: (11.0, 0.025), 5: (51.0, 0.126), 10: (101.0, 0.251)}
    assert re.search(r"^ +5 +\(4\) 46\.0 +0\.101 +51\.0", text, re.MULTILINE)
    assert re.search(r"^ +10 +\(8\) 92\.0 +0\.201 +101\.0", text, re.MULTILINE)


def test_cores_turn_hours_into_core_hours(run, tmp_path):
    paths = [str(run / "hist.json")] * 2
    text = compare(paths, str(tmp_path / "out.png"), cores=[2, 64])
    assert "core-hours" in text and cells(text, 0)[10] == (101.0, 0.503) and cells(text, 1)[10] == (101.0, 16.089)
    assert cells(compare(paths, str(tmp_path / "out.png"), cores=[3]), 1)[10] == (101.0, 0.754)
    assert draw([read_history(paths[0], 2)], "core-hours").axes[1].get_xlabel() == "core-hours"
    for wrong in ([1, 2, 3], [2, 0]):
        with pytest.raises(UserError, match="--cores"):
            compare(paths, str(tmp_path / "out.png"), cores=wrong)


def test_a_first_generation_of_no_second_is_drawn(run):
    rows = json.loads((run / "hist.json").read_text())[:1]
    rows[0][1] = 0
    (run / "hist.json").write_text(json.dumps(rows))
    (line,) = draw([read_history(str(run / "hist.json"))]).axes[1].lines
    assert line.get_xdata() == [1 / 3600] and line.get_ydata() == [11]


def test_labels_are_as_long_as_it_takes():
    assert labels(["runs/a/hist.json"]) == ["hist.json"]
    assert labels(["runs/a/hist.json", "runs/a/hist_best.json"]) == ["hist.json", "hist_best.json"]
    assert labels(["runs/a/controller/hist.json", "/x/b/controller/hist.json"]) == [
        "a/controller/hist.json",
        "b/controller/hist.json",
    ]
    assert labels(["runs/a/hist.json", "runs/a/hist.json"]) == ["runs/a/hist.json", "runs/a/hist.json"]


ROW = [1, 60, 5.0, 1.0, 9.0, 2.0, 0.1, 30.0, 40]
BEST = [4, 60, "improvement", 1.0, "curr", 6.0, "prev", 5.0, "best", 6.0]


@pytest.mark.parametrize(
    "content, sentence",
    [
        (None, "is missing"),
        ("generation 1", "cannot be read as JSON"),
        (json.dumps([ROW, ROW])[:-9], "cannot be read as JSON"),
        ("[]", "has no rows yet"),
        ('{"rows": 1}', "is not a list of rows"),
        (json.dumps([ROW, ROW[:-1]]), "row 2: has neither the 9 numbers"),
        (json.dumps([BEST[:2] + BEST[4:6] + BEST[2:4] + BEST[6:]]), "row 1: has neither the 9 numbers"),
        ("[7]", "row 1: has neither the 9 numbers"),
        (json.dumps([ROW, BEST]), "has rows of hist.json and of hist_best.json"),
        (json.dumps([ROW, [2, 60, "5.0", *ROW[3:]]]), 'row 2: "5.0" is not a finite number'),
        (json.dumps([[*BEST[:5], None, *BEST[6:]]]), "row 1: null is not a finite number"),
        (json.dumps([[*ROW[:2], float("nan"), *ROW[3:]]]), "row 1: NaN is not a finite number"),
        (json.dumps([[*ROW[:2], 10**400, *ROW[3:]]]), "is not a finite number"),
    ],
)
def test_a_file_that_is_no_history_is_one_sentence_and_no_picture(tmp_path, content, sentence):
    good, bad, out = (tmp_path / name for name in ("good.json", "bad.json", "out.png"))
    good.write_text(json.dumps([ROW]))
    if content is not None:
        bad.write_text(content)
    with pytest.raises(UserError, match=re.escape(sentence)) as caught:
        compare([str(good), str(bad)], str(out))
    assert str(caught.value).startswith(str(bad)) and "\n" not in str(caught.value)
    assert not out.exists()


@pytest.mark.parametrize(
    "out, sentence",
    [
        ("picture", "give a name that ends in .png"),
        ("picture.json", "give a name that ends in .png"),
        ("folder.png", "folder.png, a folder"),
        ("folder.png/picture/x.png", "picture/x.png, which cannot be written"),
    ],
)
def test_a_picture_that_cannot_be_written_leaves_nothing(run, tmp_path, out, sentence):
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "folder.png" / "picture").touch()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match=sentence):
        compare([str(run / "hist.json")], str(tmp_path / out))
    assert sorted(tmp_path.rglob("*")) == before


def test_the_command_draws_without_a_game_or_workers(run, tmp_path):
    out = tmp_path / "history.png"
    files = [str(run / "hist.json"), str(run / "hist_best.json")]
    loaded = "sorted({'tensorflow', 'mpi4py', 'gymnasium', 'env'} & sys.modules.keys())"
    done = run_script("-c", f"import sys, history; history.main({[*files, '--out', str(out)]}); print({loaded})")
    assert done.stdout == compare(files, str(out)) + "\n[]\n"
    assert out.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("arguments, missing", [(["hist.json"], "--out"), (["--out", "out.png"], "FILE")])
def test_half_of_the_command_is_one_sentence(arguments, missing):
    done = run_script("history.py", *arguments, check=False)
    assert done.returncode == 2
    assert done.stderr == f"history.py: the following arguments are required: {missing} (--help lists the options)\n"
