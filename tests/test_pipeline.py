"""Both pipelines from an empty folder to a scored agent, at the smoke scale, with the real worlds."""

import json
import os
import shutil

import matplotlib.image
import numpy as np
import PIL.Image
import PIL.ImageSequence
import pytest
from conftest import ROOT, run_script

import evaluate
import extract
import probe
import rnn.series
import rnn.train
import train
import vae.train
from config import UserError, scaled
from controller.rollout import open_world
from env.record import list_episodes, load_episode
from job.rundir import Stage, digest

GAMES = ["carracing", "doom"]


@pytest.fixture(scope="module", params=GAMES)
def run(request, tmp_path_factory):
    """(game, folder) of a finished run."""
    game, folder = request.param, str(tmp_path_factory.mktemp(request.param))
    options = [game, "--scale", "smoke", "--run-dir", folder]
    extract.main([*options, "-n", "1"])
    for stage in (vae.train, rnn.series, rnn.train):
        stage.main([*options, "--threads", "1"])
    train.main([*options, "-n", "1"])
    return game, folder


def _score(run, *more, name="real-test-max-steps-30"):
    game, folder = run
    evaluate.main([game, "--run-dir", folder, "-n", "1", "--max-steps", "30", *map(str, more)])
    with open(os.path.join(folder, "evaluate", f"{name}.json")) as file:
        return json.load(file)


@pytest.fixture(scope="module")
def scored(run):
    """The results of five episodes, and of the random policies in them."""
    return _score(run, "--episodes", 5, "--baseline", "--json", os.path.join(run[1], "scores.json"))


def test_recorded_episodes_are_real(run):
    game, folder = run
    paths = list_episodes(os.path.join(folder, "record"))
    assert len(paths) == 4
    frames, actions, *_ = zip(*(load_episode(path, {"carracing": 3, "doom": 1}[game]) for path in paths), strict=True)
    for obs, action in zip(frames, actions, strict=True):
        assert len(obs) == len(action) and (game == "doom" or len(obs) == 60) and (game != "doom" or 100 < len(obs) <= 150)
        assert all((obs[t] != obs[t - 1]).any() for t in (10, 20, 30))
    if game == "doom":
        assert 0.2 < np.abs(np.concatenate(actions)).mean() < 0.8  # the raw number is kept, not the button
    else:
        assert all((action[:, 1:] >= 0).all() for action in actions)


def test_lost_episode_is_recorded_again_and_is_the_same(run):
    game, folder = run
    path = list_episodes(os.path.join(folder, "record"))[2]
    before, others = open(path, "rb").read(), os.path.getmtime(path.replace("02", "01"))
    os.remove(path)
    extract.main([game, "--scale", "smoke", "--run-dir", folder, "-n", "1"])
    assert open(path, "rb").read() == before and os.path.getmtime(path.replace("02", "01")) == others


def test_two_workers_record_the_same_episodes(run, tmp_path):
    game, folder = run
    run_script("extract.py", game, "--scale", "smoke", "--run-dir", tmp_path, ranks=2)
    for mine, theirs in zip(*(list_episodes(os.path.join(base, "record")) for base in (folder, tmp_path)), strict=True):
        assert open(mine, "rb").read() == open(theirs, "rb").read()


def test_finished_stages_are_left_alone(run):
    game, folder = run
    outputs = [os.path.join(folder, *parts) for parts in (("vae", "vae.keras"), ("series", "series.npz"), ("rnn", "rnn.keras"))]
    before = [os.path.getmtime(path) for path in outputs]
    for stage in (vae.train, rnn.series, rnn.train):
        stage.main([game, "--scale", "smoke", "--run-dir", folder, "--threads", "1"])
    assert [os.path.getmtime(path) for path in outputs] == before


def test_each_stage_writes_its_settings_and_its_log(run):
    game, folder = run
    for stage in ("record", "vae", "series", "rnn", "controller"):
        with open(os.path.join(folder, stage, "config.json")) as file:
            config = json.load(file)
        assert config["settings"]["seed"] == 0 and config["versions"]["gymnasium"] and config["command"]
        rows = [json.loads(line) for line in open(os.path.join(folder, stage, "log.jsonl"))]
        assert any(row.get("peak_memory_mib", 0) > 50 for row in rows), stage
    for stage in ("vae", "rnn", "controller"):
        assert os.listdir(os.path.join(folder, stage, "tensorboard"))


def test_the_last_mean_is_logged_with_its_interval(run):
    game, folder = run
    *_, row = (json.loads(line) for line in open(os.path.join(folder, "controller", "log.jsonl")) if "cma_mean" in line)
    params, score = json.load(open(os.path.join(folder, "controller", f"mean-{row['generation']:06d}.json")))
    assert row["cma_mean_low"] < row["cma_mean"] == score < row["cma_mean_high"]


def test_evaluation_tells_the_scores_of_episodes(run, scored):
    with open(os.path.join(run[1], "scores.json")) as file:
        assert json.load(file) == scored
    assert len(set(scored["seeds"])) == len(scored["scores"]) == 5
    np.testing.assert_allclose(scored["mean"], np.mean(scored["scores"]))
    assert scored["interval"][0] <= scored["mean"] <= scored["interval"][1]
    blind = {"blind, walking from wall to wall"} if run[0] == "doom" else set()
    assert set(scored["baselines"]) == {"random, as published to record", "random, fresh action each step"} | blind
    with open(os.path.join(run[1], "evaluate", "real-test-max-steps-30.png"), "rb") as file:
        assert file.read(4) == b"\x89PNG"


def test_validation_has_other_seeds_and_a_scale_its_own_random_policy(run, scored):
    options = ("--episodes", 3, "--split", "validation", "--baseline", "--scale", "quick")
    result = _score(run, *options, name="real-validation-max-steps-30")
    assert len(result["seeds"]) == 3 and not set(result["seeds"]) & set(scored["seeds"])
    recorded_otherwise = result["baselines"].keys() - scored["baselines"]
    assert recorded_otherwise == ({"random, as recorded at this scale"} if run[0] == "doom" else set())


def test_two_workers_score_the_same(run, tmp_path, capsys):
    game, folder = run
    command = [game, "--run-dir", folder, "--episodes", "18", "--max-steps", "10", "--json"]
    capsys.readouterr()
    evaluate.main([*command, str(tmp_path / "1.json"), "-n", "1"])
    answer = run_script("evaluate.py", *command, tmp_path / "2.json", ranks=2)
    for told in (capsys.readouterr().out, answer.stdout):
        assert told.count("this agent") == 1
    one, two = (json.loads((tmp_path / f"{ranks}.json").read_text()) for ranks in (1, 2))
    commands = [result.pop("origin")["command"] for result in (one, two)]
    assert one == two and len(one["scores"]) == 18 and commands[1][0] == "evaluate.py"


def _film(path):
    """(width, height, frames) of an mp4."""
    import imageio_ffmpeg

    reader = imageio_ffmpeg.read_frames(str(path))
    size = next(reader)["size"]
    return (*size, sum(1 for _ in reader))


def test_scores_are_those_of_fixed_seeds_and_video_shows_frame_and_reconstruction(run, scored, tmp_path):
    result = _score(run, "--episodes", 5, "--video", tmp_path / "drive.mp4")
    assert result["scores"] == scored["scores"]
    assert _film(tmp_path / "drive.mp4") == (512, 256, result["steps"][0])


def test_fewer_episodes_are_the_first_and_video_for_a_readme_is_a_picture_that_moves_in_a_loop(run, scored, tmp_path):
    path = tmp_path / "new" / "drive.webp"
    result = _score(run, "--episodes", 3, "--video", path)
    assert result["scores"] == scored["scores"][:3]
    with PIL.Image.open(path) as film:
        assert (*film.size, film.info["loop"]) == (512, 256, 0)
        milliseconds = 0
        for frame in PIL.ImageSequence.Iterator(film):  # two that are equal are one that is shown longer
            frame.load()
            milliseconds += frame.info["duration"]
        assert round(milliseconds * scaled(run[0]).frames_per_second / 1000) == result["steps"][0]


@pytest.mark.parametrize("name, sentence", [("drive.avi", "ends in .mp4 or .webp"), ("there.mp4", "there.mp4, a folder")])
def test_video_that_cannot_be_written_is_refused_before_anything_is_played(run, tmp_path, name, sentence):
    (tmp_path / "there.mp4").mkdir()
    with pytest.raises(UserError, match=sentence):
        _score(run, "--episodes", 1, "--video", tmp_path / name)


def test_agent_dreams_and_the_dream_is_filmed(run, tmp_path):
    game, folder = run
    evaluate.main(
        [game, "--run-dir", folder, "-n", "1", "--world", "dream", "--episodes", "3", "--max-steps", "80"]
        + ["--video", str(tmp_path / "dream.mp4")]
    )
    with open(os.path.join(folder, "evaluate", "dream-test-max-steps-80.json")) as file:
        result = json.load(file)
    assert result["temperature"] == {"carracing": 0.7, "doom": 1.15}[game]
    assert _film(tmp_path / "dream.mp4") == (256, 256, result["steps"][0])
    if game == "carracing":  # without a reward it is scored by the road, which this hardly trained V does not decode
        assert result["steps"] == [80] * 3 and result["scores"] == [50.0] * 3 and result["on_road"] == [0.0] * 3
        with pytest.raises(UserError, match="needs 75"):
            evaluate.main([game, "--run-dir", folder, "-n", "1", "--world", "dream", "--max-steps", "74"])


def test_world_model_is_looked_at(run, capsys):
    game, folder = run
    command = [game, "--scale", "smoke", "--run-dir", folder, "--episodes", "1", "--threads", "1"]
    probe.main([*command, "--games", folder, "--recorded", "3"])
    seen, dreams = (  # this hardly trained V decodes grey
        np.uint8(matplotlib.image.imread(os.path.join(folder, "probe", name))[::2, ::2, :3] * 255.0 + 0.5)
        for name in ("reconstructions.png", "dreams.png")
    )
    assert seen.shape == (2 * 64, 12 * 64, 3) and dreams.shape == (6 * 64, 12 * 64, 3)
    held_out = list_episodes(os.path.join(folder, "record"))[-1]  # the last of four episodes is held out
    np.testing.assert_array_equal(seen[:64, -64:], load_episode(held_out, {"carracing": 3, "doom": 1}[game])[0][-1])
    with open(os.path.join(folder, "probe", "recorded.json")) as file:
        recorded = json.load(file)
    assert {name: row["episodes"] for name, row in recorded.items()} == {"held out": 1, folder: 3}
    assert all((row["false_alarms"] is None) == (game == "carracing") for row in recorded.values())
    if game == "doom":
        with open(os.path.join(folder, "probe", "players.json")) as file:
            lived = json.load(file)
        assert all(len(times["real"]) == 1 and set(times["dream"]) <= set(range(1, 41)) for times in lived.values())
        assert 100 < np.mean(lived["always left"]["real"]) < 250 and "always left" in capsys.readouterr().out


def test_trained_agent_can_be_recorded_and_can_explore(run, tmp_path):
    """With a share of 1 all actions are the random policy's; with a half they alternate with the agent's."""
    game, folder = run
    played = {}
    for share, count in (("0", 3), ("0.5", 1), ("1", 1)):
        command = [game, "--scale", "smoke", "--agent", folder, "--run-dir", str(tmp_path / share), "-n", "1"]
        command += ["--episodes", str(count), "--max-steps", "50"]
        extract.main([*command, "--explore", share])
        paths = list_episodes(tmp_path / share / "record")
        episodes = [load_episode(path, {"carracing": 3, "doom": 1}[game]) for path in paths]
        assert len(episodes) == count
        for obs, action, *_ in episodes:
            assert np.isfinite(action).all() and (np.abs(action) <= 1).all() and len(obs) == len(action)
        if count == 3:
            assert not np.array_equal(episodes[0][1], episodes[1][1])
        played[share] = episodes[0][1]
    assert not np.array_equal(played["0"], played["1"])
    length = min(len(part) for part in played.values())
    taken = (played["0.5"][:length] == played["1"][:length]).all(axis=1).mean()
    assert 0 < taken < 1
    with pytest.raises(UserError, match="--explore 0.5, not 1"):
        extract.main([*command, "--run-dir", str(tmp_path / "0.5"), "--explore", "1"])


def test_blind_players_can_be_recorded_and_can_explore(tmp_path):
    played = {}
    for share in ("0", "0.5"):
        command = ["doom", "--blind", "always left", "--explore", share, "--episodes", "1", "--max-steps", "80", "-n", "1"]
        extract.main([*command, "--min-frames", "0", "--run-dir", str(tmp_path / share)])
        played[share] = load_episode(list_episodes(tmp_path / share / "record")[0], 1).action
    assert (played["0"] == -1).all() and 0 < (played["0.5"] == -1).mean() < 1
    with pytest.raises(UserError, match="there is no blind player 'left': choose one of always left"):
        extract.main(["doom", "--blind", "left"])
    with pytest.raises(UserError, match="--blind and --agent are two players"):
        extract.main(["doom", "--blind", "always left", "--agent", "x"])


def test_decoys_are_seen_instead_of_the_game(run, tmp_path):
    game, folder = run
    seen = []
    world = open_world("real", folder, scaled(game, "smoke"), 2)
    world.decoys = [np.full((3, 64, 64, 3), shade, np.uint8) for shade in (10, 20)]
    world.decoys[1][2] = 30
    world.rollout(np.zeros(world.controller.num_params), [4, 7], 8, watch=lambda episode, frames, *_: seen.append(frames))
    world.close()
    rows = np.array(seen)[:, :2, 0, 0, 0].T  # the episodes' two rows
    np.testing.assert_array_equal(rows, [[10] * 8, [20, 20, 30] * 2 + [20] * 2])
    command = [game, "--scale", "smoke", "--run-dir", folder, "--episodes", "1", "-n", "1", "--max-steps", "20"]
    evaluate.main([*command, "--decoys", folder, "--json", str(tmp_path / "told.json")])
    assert json.loads((tmp_path / "told.json").read_text())["decoys"] == folder
    with pytest.raises(UserError, match="--decoys are frames of the real world"):
        evaluate.main([*command, "--decoys", folder, "--world", "dream"])


@pytest.mark.parametrize(
    "options", [["--explore", "1.5", "--agent", "x"], ["--explore", "nan", "--agent", "x"], ["--explore", "0.5"]]
)
def test_impossible_exploration_is_refused(options):
    with pytest.raises(UserError, match="--explore"):
        extract.main(["doom", *options])


def test_a_second_round_has_the_episodes_of_the_first(run, tmp_path):
    """--with: one more recorded episode, together with the first run's, to train V and M on."""
    game, folder = run
    command = [game, "--scale", "smoke", "--run-dir", str(tmp_path / "second"), "-n", "1", "--episodes", "1", "--with"]
    for _ in range(2):  # the second time there is nothing left to do
        extract.main([*command, folder])
        names = [os.path.basename(path) for path in list_episodes(tmp_path / "second" / "record")]
        others = [f"{os.path.basename(folder)}-{e:06d}.npz" for e in range(scaled(game, "smoke").record_episodes)]
        assert names == ["000000.npz", *others]
    with pytest.raises(UserError, match="frames of two kinds"):
        extract.main([*command, folder, "--preprocess", "legacy"])
    with pytest.raises(UserError, match="given twice"):
        extract.main([*command, folder, folder])
    with pytest.raises(UserError, match="record/config.json is missing: run `python extract.py"):
        extract.main([*command, str(tmp_path / "none")])


def test_an_episode_that_is_there_is_not_linked_under_another_name(run, tmp_path):
    """Two runs with the same episodes: a copy could be in the training and in the held-out part."""
    game, folder = run
    shutil.copytree(os.path.join(folder, "record"), tmp_path / "copy" / "record")
    command = [game, "--scale", "smoke", "--run-dir", str(tmp_path / "both"), "-n", "1", "--episodes", "1", "--with"]
    extract.main([*command, folder, str(tmp_path / "copy")])
    assert len(list_episodes(tmp_path / "both" / "record")) == 1 + scaled(game, "smoke").record_episodes


def test_two_runs_of_one_name_are_not_taken_for_one(run, tmp_path):
    game, folder = run
    command = [game, "--scale", "smoke", "-n", "1", "--episodes", "1", "--run-dir"]
    names = [str(tmp_path / other / "one") for other in ("a", "b")]
    for seed, name in enumerate(names, 8):
        extract.main([*command, name, "--seed", str(seed)])
    extract.main([*command, str(tmp_path / "second"), "--with", names[0]])
    extract.main([*command, str(tmp_path / "mirrored")])
    with pytest.raises(UserError, match="a name that begins like those of mirrored episodes"):
        extract.main([*command, str(tmp_path / "fourth"), "--with", str(tmp_path / "mirrored")])
    with pytest.raises(UserError, match="one-000000.npz is not the episode .*rename the folder of one"):
        extract.main([*command, str(tmp_path / "third"), "--with", names[1], str(tmp_path / "second")])


def test_scripts_find_the_pretrained_agents_from_any_folder(tmp_path):
    command = [ROOT / "evaluate.py", "carracing", "--pretrained", "--episodes", "1", "--max-steps", "3", "-n", "1"]
    assert "this agent" in run_script(*command, folder=tmp_path).stdout
    assert (tmp_path / "runs" / "carracing" / "evaluate" / "real-test-pretrained-max-steps-3.json").exists()


def test_several_searches_share_v_and_m(run):
    """A second, named search at another temperature, and the means of the first."""
    game, folder = run
    short = ["--max-steps", "10"] if game == "carracing" else ["--dream-max-steps", "20"]
    options = [game, "--scale", "smoke", "--run-dir", folder, "-n", "1", *short]
    look = ["--look", "v3"] if game == "carracing" else []
    train.main([*options, "--name", "cold", "--temperature", "0.3", "--seed", "1", *look])
    with open(os.path.join(folder, "controller-cold", "best.json")) as file:
        params, score = json.load(file)
    dream = [game, "--run-dir", folder, "-n", "1", "--world", "dream", "--max-steps", "80", "--episodes", "2"]
    for options, temperature in ((["--name", "cold"], 0.3), (["--name", "cold", "--temperature", "0.9"], 0.9)):
        assert evaluate._parse([*dream, *options])[0].dream_temperature == temperature
    if game == "doom":  # V's decoder, which scores a car's dream, takes seconds
        evaluate.main([*dream, *options])
        with open(os.path.join(folder, "evaluate", "dream-test-cold-temperature-0.9-max-steps-80.json")) as file:
            assert json.load(file)["temperature"] == temperature
    named = _score(run, "--episodes", 3, "--name", "cold", name="real-test-cold-max-steps-30")
    mean = os.path.join(folder, "controller-cold", "mean-000002.json")
    with open(mean) as file:
        assert json.load(file) == [params, score]  # the only one that was evaluated
    if look:  # in which the search was
        assert named["look"] == "v3" and _score(run, "--episodes", 1, name="real-test-max-steps-30")["look"] == "v0"
    name = "real-test-mean-000002-look-v3-max-steps-30" if look else "real-test-mean-000002-max-steps-30"
    by_file = _score(run, "--episodes", 3, "--controller", mean, *look, name=name)
    assert by_file["scores"] == named["scores"] and by_file["agent"][mean] == digest(mean)
    with pytest.raises(UserError, match="train.py .* --run-dir .* --name warm"):
        evaluate.main([*dream, "--name", "warm"])
    for wrong in (["--name", "../x"], ["--name", "cold", "--controller", mean]):
        with pytest.raises(UserError, match="--name"):
            evaluate.main([*dream, *wrong])


def test_results_say_whose_they_are_and_outlive_others(run, tmp_path):
    """Those of another agent under the same name, and of another setting; and two evaluations may run at once."""
    game, folder = run
    results = tmp_path / "evaluate"
    for stage in ("vae", "rnn", "controller"):
        shutil.copytree(os.path.join(folder, stage), tmp_path / stage)
    command = [game, "--run-dir", str(tmp_path), "-n", "1", "--episodes", "1", "--max-steps", "5"]
    evaluate.main(command)
    evaluate.main(command)  # the same again
    first = json.loads((results / "real-test-max-steps-5.json").read_text())
    assert first["agent"][str(tmp_path / "controller" / "best.json")] == digest(str(tmp_path / "controller" / "best.json"))
    assert first["max_steps"] == 5 and first["origin"]["versions"]["tensorflow"]
    params, score = json.loads((tmp_path / "controller" / "best.json").read_text())
    (tmp_path / "controller" / "best.json").write_text(json.dumps([[x + 1 for x in params], score]))
    with Stage(str(tmp_path), "evaluate", {}, 0, exclusive=False):
        evaluate.main(command)
    names = {path.name for path in results.glob("*.json")} - {"config.json"}
    (kept,) = names - {"real-test-max-steps-5.json"}
    assert json.loads((results / kept).read_text()) == first and (results / kept).with_suffix(".png").exists()
    evaluate.main([*command, "--max-steps", "6"])
    evaluate.main([*command, "--split", "validation"])
    more = {path.name for path in results.glob("*.json")} - {"config.json"} - names
    assert more == {"real-test-max-steps-6.json", "real-validation-max-steps-5.json"}
    if game == "carracing":
        evaluate.main([*command, "--look", "v3"])
        assert (results / "real-test-look-v3-max-steps-5.json").exists()


def test_missing_stages_name_their_commands(tmp_path):
    for script, command in ((evaluate, "mpirun python train.py"), (train, "python -m rnn.train"), (rnn.series, "-m vae.train")):
        with pytest.raises(UserError, match=command):
            script.main(["doom", "--run-dir", str(tmp_path), *(["-n", "1"] if script is not rnn.series else [])])
    with pytest.raises(UserError, match="python extract.py doom"):
        vae.train.main(["doom", "--run-dir", str(tmp_path)])


@pytest.mark.parametrize("script", ["extract.py", "train.py", "evaluate.py", "vae/train.py", "rnn/series.py", "rnn/train.py"])
def test_unknown_game_is_one_sentence(script):
    module = ["-m", script[:-3].replace("/", ".")] if "/" in script else [script]
    answer = run_script(*module, "chess", check=False)
    assert answer.returncode == 2 and answer.stdout == ""
    assert answer.stderr.count("\n") == 1 and "there is no game 'chess'" in answer.stderr


@pytest.mark.parametrize(
    "options, sentence",
    [
        (["doom", "--full"], "--full continues after a game's end, but doom ends with the player's death"),
        (["doom", "--max-steps", "100"], "--min-frames is 100, but episodes are cut after 100"),
    ],
)
def test_recordings_that_cannot_end_are_refused(options, sentence, tmp_path):
    with pytest.raises(UserError, match=sentence):
        extract.main([*options, "--run-dir", str(tmp_path)])
    assert os.listdir(tmp_path) == []


def test_settings_that_are_finished_stay_in_their_file(run):
    """With fewer passes or episodes than are done nothing is done, and config.json says what made the outputs."""
    game, folder = run
    paths = [os.path.join(folder, stage, "config.json") for stage in ("record", "rnn")]
    before = [open(path).read() for path in paths]
    extract.main([game, "--scale", "smoke", "--run-dir", folder, "-n", "1", "--episodes", "2"])
    rnn.train.main([game, "--scale", "smoke", "--run-dir", folder, "--threads", "1", "--epochs", "1"])
    assert [open(path).read() for path in paths] == before
    rows = [json.loads(line) for line in open(os.path.join(folder, "rnn", "log.jsonl"))]
    assert all(row["command"] and row["versions"] for row in rows if "stage_seconds" in row)


@pytest.mark.parametrize(
    "option",
    [["--episodes", "0"], ["--baseline", "--world", "dream"], ["--max-steps", "-1"], ["--threads", "0"], ["--nonsense"]],
)
def test_bad_options_of_the_evaluation_are_named(option):
    with pytest.raises(UserError, match=option[0]):
        evaluate.main(["doom", *option])


def test_recording_with_other_settings_is_refused(run):
    game, folder = run
    with pytest.raises(UserError, match=r"--max-steps \d+, not 133"):
        extract.main([game, "--scale", "smoke", "--run-dir", folder, "-n", "1", "--max-steps", "133"])
    with pytest.raises(UserError, match="--seed 0, not 4"):
        extract.main([game, "--scale", "smoke", "--run-dir", folder, "-n", "1", "--seed", "4"])


def test_broken_controller_is_named(run, tmp_path):
    game, folder = run
    for stage in ("vae", "rnn", "controller"):
        (tmp_path / stage).mkdir()
        for name in os.listdir(os.path.join(folder, stage)):
            if name != "best.json":
                (tmp_path / stage / name).symlink_to(os.path.join(folder, stage, name))
    with open(os.path.join(folder, "controller", "hist.json")) as file:
        history = file.read()
    for content in ("[[NaN, 1.0], 3]", "[[1, 2", "7", '["ab", 3]', history):
        (tmp_path / "controller" / "best.json").write_text(content)
        with pytest.raises(UserError, match="best.json"):
            evaluate.main([game, "--run-dir", str(tmp_path), "-n", "1"])
