"""A V for another look learns the z of a V that is trained, from recordings of the same drives in both looks."""

import json
import shutil

import numpy as np
import pytest

from config import UserError
from env.record import episode_path, list_episodes, load_episode
from tests.conftest import run_script

SMOKE = ("carracing", "--scale", "smoke")


@pytest.fixture(scope="module")
def looks(tmp_path_factory):
    """{look: a run with the same five short drives in it}; that of v0 has a V that has learned a little."""
    folders = {look: tmp_path_factory.mktemp(look) for look in ("v0", "v3")}
    for look, folder in folders.items():
        run_script("extract.py", *SMOKE, "--episodes", 5, "--look", look, "--run-dir", folder, "-n", 1)
    train(folders["v0"], "--epochs", 8)
    return folders


def train(run_dir, *options):
    from vae.train import main

    main([*SMOKE, "--batch-size", "10", "--learning-rate", "1e-3", "--run-dir", str(run_dir), *map(str, options)])


def copy_of(looks, folder):
    shutil.copytree(looks["v3"] / "record", folder / "record")
    return folder


def test_another_look_is_seen_as_the_first(looks, tmp_path):
    from vae.vae import load_vae

    run = copy_of(looks, tmp_path)
    train(run, "--like", looks["v0"], "--epochs", 4)
    teacher, vae = (load_vae(str(folder / "vae" / "vae.keras")) for folder in (looks["v0"], run))
    unseen = [load_episode(list_episodes(folder / "record")[-1], 3)[0] for folder in (looks["v0"], run)]
    true = teacher.encode(unseen[0])[0].numpy()
    errors = {
        name: np.square(model.encode(unseen[1])[0] - true).mean() for name, model in (("before", teacher), ("after", vae))
    }
    assert errors["after"] < 0.5 * errors["before"]

    z = np.random.default_rng(0).normal(size=(4, 32)).astype(np.float32)
    np.testing.assert_array_equal(vae.decode(z), teacher.decode(z))
    rows = [json.loads(line) for line in (run / "vae" / "log.jsonl").read_text().splitlines()]
    losses = [row["val_loss"] for row in rows if "val_loss" in row]
    assert len(losses) == 4 and losses[-1] < losses[0]
    settings = json.loads((run / "vae" / "config.json").read_text())["settings"]
    with pytest.raises(UserError, match="was made with like="):
        train(run)
    assert len(settings["like"]) == 64 and "start" not in settings


def test_loss_is_the_divergence_of_normal_distributions(car_run):
    import tensorflow_probability as tfp

    from vae.like import LikeV
    from vae.vae import load_vae

    model = LikeV(load_vae(str(car_run / "vae" / "vae.keras")))
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (3, 64, 64, 3), np.uint8)
    mu, logvar = rng.normal(size=(2, 3, 32)).astype(np.float32)
    true_mu, true_logvar = model.teacher.encode(frames)
    normal = tfp.distributions.MultivariateNormalDiag
    expected = normal(true_mu, np.exp(true_logvar / 2)).kl_divergence(normal(mu, np.exp(logvar / 2)))
    np.testing.assert_allclose(model.compute_loss(y=frames, y_pred=(mu, logvar)), np.mean(expected), rtol=1e-5)


def test_what_is_no_pair_is_said(looks, tmp_path):
    run = copy_of(looks, tmp_path / "run")
    shutil.copyfile(episode_path(run / "record", 1), episode_path(run / "record", 5))
    with pytest.raises(UserError, match="000005.npz is missing.*python extract.py carracing"):
        train(run, "--like", looks["v0"])
    shutil.copyfile(episode_path(run / "record", 1), episode_path(run / "record", 2))
    (run / "record" / "000005.npz").unlink()
    with pytest.raises(UserError, match="000002.npz.*two different episodes"):
        train(run, "--like", looks["v0"])
    with pytest.raises(UserError, match="--start and --skip-bad"):
        train(run, "--like", looks["v0"], "--skip-bad")
    with pytest.raises(UserError, match="vae.keras is missing: run `python -m vae.train carracing --run-dir"):
        train(run, "--like", tmp_path)
    assert not (run / "vae").exists()
