"""From recorded episodes to M: the series, the sequences cut from it, the loss, and resuming a training."""

import json
import os
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import OTHER_PRECISION, needs_bfloat16

import config
from config import UserError
from env.record import episode_path, save_episode
from job.npz import pack
from job.rundir import digest

LENGTHS = {"carracing": [40, 35, 60, 30, 20], "doom": [90, 70, 120, 60, 80]}


@pytest.fixture(scope="module", params=["carracing", "doom"])
def run(request, tmp_path_factory):
    """A run with recorded episodes and an untrained V, encoded by rnn.series."""
    import keras

    from rnn.series import main
    from vae.vae import ConvVAE

    game, folder = config.GAMES[request.param], tmp_path_factory.mktemp(request.param)
    for stage in ("record", "vae"):
        os.makedirs(folder / stage)
    for e, length in enumerate(LENGTHS[game.name]):
        rng = np.random.default_rng(e)
        obs = rng.integers(0, 256, (length, 8, 8, 3), dtype=np.uint8).repeat(8, axis=1).repeat(8, axis=2)
        action = rng.uniform(-1, 1, (length, game.action_size))
        save_episode(episode_path(folder / "record", e), obs, action, np.ones(length), np.arange(length) == length - 1)
    keras.utils.set_random_seed(0)
    ConvVAE(game.z_size).save(folder / "vae" / "vae.keras")
    main([game.name, "--run-dir", str(folder)])
    return SimpleNamespace(game=game, folder=folder)


def copy_of(run, folder, *stages):
    for stage in stages:
        shutil.copytree(run.folder / stage, folder / stage)
    return folder


def train(run, folder, *options):
    from rnn.train import main

    main([run.game.name, "--scale", "smoke", "--rnn-size", "16", "--seq-len", "25", "--run-dir", str(folder), *options])


def test_series_is_v_of_each_frame(run):
    from env.record import load_episode
    from rnn.batches import Series
    from vae.vae import load_vae

    series = Series(str(run.folder / "series" / "series.npz"))
    assert series.length.tolist() == LENGTHS[run.game.name]
    assert series.episode == [f"{e:06d}.npz" for e in range(5)]
    obs, action, *_ = load_episode(episode_path(run.folder / "record", 2), run.game.action_size)
    mu, logvar = load_vae(str(run.folder / "vae" / "vae.keras")).encode(obs)
    for array, expected in ((series.mu, mu), (series.logvar, logvar), (series.action, action)):
        assert array.dtype == np.float16
        np.testing.assert_allclose(array[series.frames(2)], expected, atol=2e-3)
    with np.load(run.folder / "series" / "series.npz") as file:
        assert (
            sorted(file) == ["action", "ended", "episode", "length", "logvar", "mu", "reward", "vae"]
            and file["length"].dtype == np.int32
        )
        np.testing.assert_array_equal(file["mu"], series.mu)
    assert not [name for name in os.listdir(run.folder / "series") if "partial" in name]


def test_mirror_images_follow_their_episodes_into_the_training_alone(run, tmp_path, monkeypatch):
    import rnn.series
    import rnn.training
    from env.record import load_episode
    from rnn.batches import Series
    from vae.vae import load_vae

    copy_of(run, tmp_path, "record", "vae")
    rnn.series.main([run.game.name, "--run-dir", str(tmp_path), "--mirror", "--precision", "float32"])
    series = Series(str(tmp_path / "series" / "series.npz"))
    assert series.episode == [f"{kind}{e:06d}.npz" for e in range(5) for kind in ("", "mirrored-")]
    assert series.length.tolist() == np.repeat(LENGTHS[run.game.name], 2).tolist()
    obs, action, *_ = load_episode(episode_path(run.folder / "record", 2), run.game.action_size)
    mu, _ = load_vae(str(run.folder / "vae" / "vae.keras")).encode(obs[:, :, ::-1])
    np.testing.assert_allclose(series.mu[series.frames(5)], mu, atol=2e-3)
    turned = [-1.0] + [1.0] * (run.game.action_size - 1)  # steering left is steering right; gas is gas
    np.testing.assert_array_equal(series.action[series.frames(5)], (action * turned).astype(np.float16))

    parts = {}
    monkeypatch.setattr(rnn.training, "_train", lambda *args: parts.update(kept=args[-2], held_out=args[-1]))
    train(run, tmp_path)
    assert parts == {"kept": [0, 1, 2, 3, 4, 5, 6, 7], "held_out": [8]}  # 9 is the image of 8


def test_series_goes_on_or_begins_anew_with_another_v(run, tmp_path, monkeypatch):
    import rnn.encoding
    import rnn.series

    copy_of(run, tmp_path, "record", "vae")
    rnn.series.main([run.game.name, "--run-dir", str(copy_of(run, tmp_path / "whole", "record", "vae")), *OTHER_PRECISION])
    monkeypatch.setattr(rnn.encoding, "SAVE_EVERY", 2)
    append = rnn.encoding._Partial.append

    def append_and_stop(self, name, *episode):
        append(self, name, *episode)
        if len(self.episode) == 3:  # one episode more than the note knows
            raise KeyboardInterrupt

    command = [run.game.name, "--run-dir", str(tmp_path)]
    monkeypatch.setattr(rnn.encoding._Partial, "append", append_and_stop)
    with pytest.raises(KeyboardInterrupt):
        rnn.series.main([*command, *OTHER_PRECISION])
    note = json.loads((tmp_path / "series" / "partial.json").read_text())
    assert note["read"] == 2
    read = []
    monkeypatch.setattr(
        rnn.encoding._Partial, "append", lambda self, name, *episode: (read.append(name), append(self, name, *episode))
    )
    rnn.series.main(command)
    assert read == ["000002.npz", "000003.npz", "000004.npz"]
    with np.load(tmp_path / "series" / "series.npz") as ours, np.load(tmp_path / "whole" / "series" / "series.npz") as whole:
        assert all((ours[name] == whole[name]).all() for name in whole)

    (tmp_path / "series" / "series.npz").unlink()
    (tmp_path / "series" / "partial.json").write_text(json.dumps({**note, "vae": "another"}))
    read.clear()
    rnn.series.main(command)
    assert len(read) == 5


def test_another_v_is_noticed(run, tmp_path):
    from rnn.series import main
    from vae.vae import ConvVAE

    copy_of(run, tmp_path, "record", "vae", "series")
    ConvVAE(run.game.z_size).save(tmp_path / "vae" / "vae.keras")
    before = (tmp_path / "series" / "series.npz").read_bytes()
    for script in (lambda: main([run.game.name, "--run-dir", str(tmp_path)]), lambda: train(run, tmp_path)):
        with pytest.raises(UserError, match=f"was not made by .*python -m rnn.series {run.game.name}"):
            script()
    assert (tmp_path / "series" / "series.npz").read_bytes() == before


def test_missing_stages_and_broken_series_are_said(run, tmp_path):
    with pytest.raises(UserError, match=f"python -m rnn.series {run.game.name}"):
        train(run, tmp_path)
    copy_of(run, tmp_path, "vae", "series")
    path = tmp_path / "series" / "series.npz"
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(UserError, match="series.npz cannot be read"):
        train(run, tmp_path)


def test_streams_hold_each_transition_once(run):
    from rnn.batches import Series, streams

    series = Series(str(run.folder / "series" / "series.npz"))
    order, batch, length = [3, 0, 4, 1, 2], 2, 7
    flat = np.concatenate([series.frames(episode) for episode in order])
    chunks = list(streams(series, order, batch, length))
    assert len(chunks) == (len(flat) - 1) // (batch * length)
    rows = np.concatenate([index[:, :-1] for index, _ in chunks], axis=1)  # (B, all steps)
    following = np.concatenate([index[:, 1:] for index, _ in chunks], axis=1)
    np.testing.assert_array_equal(rows.ravel(), flat[: rows.size])
    np.testing.assert_array_equal(following.ravel(), flat[1 : rows.size + 1])  # chunks meet, and so do episodes
    restart = series.batch(*chunks[0])["restart"]
    assert restart[0].tolist() == [1] + [0] * length


def test_each_held_out_step_is_measured_once(run):
    from rnn.batches import Series, episode_streams, whole_episodes

    series = Series(str(run.folder / "series" / "series.npz"))
    steps = []
    for index, mask in episode_streams(series, [1, 4, 2], 2, 16):
        assert index.shape == (2, 17) and mask.shape == (2, 16)
        steps += [tuple(pair) for pair in np.stack([index[:, :-1], index[:, 1:]], axis=-1)[mask == 1].tolist()]
    assert len(steps) == len(set(steps)) == series.length[[1, 4, 2]].sum()
    ends = {(int(series.frames(a)[-1]), int(series.start[b])) for a, b in ((1, 4), (4, 2), (2, 1))}
    assert ends == {step for step in steps if step[1] != step[0] + 1}

    (index, mask), (index_2, mask_2) = whole_episodes(series, [1, 4, 2], 2, 50)
    expected = np.minimum(series.length[[1, 4, 2]] - 1, 50)
    assert mask.sum(axis=1).tolist() == expected[:2].tolist() and mask_2.sum(axis=1).tolist() == [expected[2], 0]
    np.testing.assert_array_equal(index_2[0, : expected[2] + 1], series.frames(2)[: expected[2] + 1])


def test_the_end_of_an_episode_that_was_cut_is_no_death(run, tmp_path):
    from env.record import load_episode
    from rnn.batches import Series, episode_streams, streams
    from rnn.series import main

    copy_of(run, tmp_path, "record", "vae")
    path = episode_path(tmp_path / "record", 1)
    obs, action, *_ = load_episode(path, run.game.action_size)
    save_episode(path, obs, action, np.ones(len(obs)), np.zeros(len(obs), bool))
    main([run.game.name, "--run-dir", str(tmp_path)])
    series = Series(str(tmp_path / "series" / "series.npz"))
    last = series.frames(1)[-1]
    assert np.flatnonzero(series.cut).tolist() == [last]
    for plan in (streams, episode_streams):
        steps, counts = [], []
        for index, mask in plan(series, [0, 1, 2], 2, 10):
            steps += index[:, :-1].ravel().tolist()
            counts += mask.ravel().tolist()
        counted = {step for step, count in zip(steps, counts, strict=True) if count}
        assert last in steps and last not in counted
        assert last - 1 in counted and series.frames(0)[-1] in counted


def test_an_episode_ends_where_the_game_says_so_before_its_longest(run, tmp_path):
    from env.record import load_episode

    arrays = [np.zeros((9, 64, 64, 3), np.uint8), np.zeros((9, run.game.action_size)), np.ones(9)]
    save_episode(tmp_path / "ended.npz", *arrays, np.arange(9) == 8)
    save_episode(tmp_path / "cut.npz", *arrays, np.zeros(9))
    np.savez(tmp_path / "original.npz", obs=arrays[0], action=arrays[1])
    found = {
        name: [load_episode(tmp_path / f"{name}.npz", run.game.action_size, longest).ended for longest in (9, 10)]
        for name in ("ended", "cut", "original")
    }
    assert found == {"ended": [False, True], "cut": [False, False], "original": [False, True]}
    save_episode(tmp_path / "bad.npz", *arrays, [])
    with pytest.raises(UserError, match="bad.npz cannot be read .*: remove it"):
        load_episode(tmp_path / "bad.npz", run.game.action_size)


def test_loss_carries_the_state_and_weighs_restarts(run):
    """The loss of two consecutive chunks is that of the whole in NumPy; padding does not count."""
    from rnn.batches import Series
    from rnn.rnn import MDNRNN
    from rnn.teacher import Teacher

    series = Series(str(run.folder / "series" / "series.npz"))
    restarts = run.game.predict_restart
    model = MDNRNN(run.game.z_size, run.game.action_size, 16, predict_restart=restarts)
    teacher = Teacher(model, 1, carry=True, restart_weight=10.0, seed=0)
    teacher.compile(optimizer="adam")
    index = series.frames(0)[-9:].tolist() + series.frames(1)[:12].tolist()  # a death in the middle
    index, mask = np.array([index]), np.ones((1, 20), np.float32)
    mask[0, 17:] = 0
    batches = [series.batch(index[:, at : at + 11], mask[:, at : at + 10]) for at in (0, 10)]
    for batch in batches:
        batch["logvar"] = np.full_like(batch["logvar"], -60)  # z is mu, all but
    losses = [float(teacher.compute_loss(x=batch, y_pred=teacher(batch))) for batch in batches]
    z, first = np.asarray(series.mu[index], np.float32), series.first[index]
    params, _ = model.sequence(z[:, :-1], series.action[index[:, :-1]].astype(np.float32), first[:, :-1] if restarts else None)
    nll = -model.mixture(params).log_prob(z[:, 1:]).numpy().mean(axis=-1)
    total = nll
    if restarts:
        logit, label = params.restart_logit.numpy().astype(float), first[:, 1:]
        total = nll + np.where(label == 1, 10 * np.log1p(np.exp(-logit)), np.log1p(np.exp(logit)))
        assert label.sum() == 1
    np.testing.assert_allclose(losses, [total[0, :10].mean(), total[0, 10:17].mean()], rtol=1e-4)
    teacher.reset()
    assert float(teacher.compute_loss(x=batches[0], y_pred=teacher(batches[0]))) == pytest.approx(losses[0], rel=1e-5)
    batches[1]["mask"] *= 0  # as where an episode's last frame is alone in its chunk
    assert float(teacher.compute_loss(x=batches[1], y_pred=teacher(batches[1]))) == 0


# bfloat16 has 8 bits
@pytest.mark.parametrize("precision, tolerance", [("float32", 1e-5), pytest.param("bfloat16", 0.02, marks=needs_bfloat16)])
def test_gradient_from_a_carried_state_is_that_of_automatic_differentiation(run, precision, tolerance):
    """Against TFP's mixture and the cell's steps, from the state after the previous chunk; for the car too."""
    import keras
    import tensorflow as tf

    from rnn.batches import Series, streams
    from rnn.rnn import MDNRNN
    from rnn.teacher import Teacher

    series = Series(str(run.folder / "series" / "series.npz"))
    restarts = run.game.predict_restart
    keras.utils.set_random_seed(0)
    model = MDNRNN(run.game.z_size, run.game.action_size, 16, predict_restart=restarts)
    teacher = Teacher(model, 3, carry=True, restart_weight=10.0, seed=0, precision=precision)  # lanes of one row and of two
    batches = [series.batch(*chunk) for chunk in list(streams(series, [0, 1, 2], 3, 12))[:2]]
    for batch in batches:
        batch["logvar"] = np.full_like(batch["logvar"], -60)  # z is mu, all but
        batch["restart"][1, 5] = 1
        batch["mask"][2, 7:] = 0
    teacher(batches[0])
    state, batch = (teacher.h.numpy(), teacher.c.numpy()), batches[1]
    assert np.abs(state[0]).max() > 0.01

    @tf.function
    def ours():
        with tf.GradientTape() as tape:
            loss = teacher.compute_loss(x=batch, y_pred=teacher(batch))
        return loss, tape.gradient(loss, model.trainable_variables)

    z, loss, total = batch["mu"].astype(np.float32), 0, batch["mask"].sum()
    with tf.GradientTape() as tape:
        for t in range(12):
            params, state = model.step(z[:, t], batch["action"][:, t], state, batch["restart"][:, t])
            step = -tf.reduce_mean(model.mixture(params).log_prob(z[:, t + 1]), axis=-1)
            if restarts:
                step += tf.nn.weighted_cross_entropy_with_logits(batch["restart"][:, t + 1], params.restart_logit, 10.0)
            loss += tf.reduce_sum(step * batch["mask"][:, t]) / total
    expected = tape.gradient(loss, model.trainable_variables)
    value, gradient = ours()
    np.testing.assert_allclose(value, loss, rtol=tolerance / 10)
    np.testing.assert_allclose(teacher.c, state[1], atol=tolerance)
    for a, b in zip(gradient, expected, strict=True):
        assert np.linalg.norm(a - b) < tolerance * np.linalg.norm(b)


def test_stopped_training_ends_with_the_same_weights(run, tmp_path, capsys):
    from rnn.rnn import load_rnn

    whole, stopped = (copy_of(run, tmp_path / name, "vae", "series") for name in ("whole", "stopped"))
    train(run, whole, *OTHER_PRECISION)
    train(run, stopped, "--epochs", "1", *OTHER_PRECISION)
    train(run, stopped)  # to the scale's two epochs
    a, b = (load_rnn(str(folder / "rnn" / "rnn.keras")).get_weights() for folder in (whole, stopped))
    assert all((x == y).all() for x, y in zip(a, b, strict=True))
    rows = [json.loads(line) for line in (stopped / "rnn" / "log.jsonl").read_text().splitlines()]
    rows = [row for row in rows if "loss" in row]
    transitions = sum(LENGTHS[run.game.name][:4])  # the last episode is held out
    per_epoch = 2 if run.game.whole_episodes else (transitions - 1) // (2 * 25)
    assert [row["updates"] for row in rows] == [per_epoch, 2 * per_epoch]
    names = {"val_nll"} if run.game.whole_episodes else {"val_nll", "val_restart", "val_recall", "val_false_alarms"}
    assert all(names <= row.keys() for row in rows)
    mu, logvar = json.loads((stopped / "rnn" / "initial_z.json").read_text())
    with np.load(run.folder / "series" / "series.npz") as series:
        starts = np.cumsum([0, *LENGTHS[run.game.name][:3]])
        np.testing.assert_array_equal(mu, np.trunc(series["mu"][starts].astype(float) * 10_000))
        np.testing.assert_array_equal(logvar, np.trunc(series["logvar"][starts].astype(float) * 10_000))
    capsys.readouterr()
    train(run, stopped)
    assert "finished" in capsys.readouterr().out
    os.remove(stopped / "rnn" / "rnn.keras")  # the last checkpoint still has it
    with pytest.raises(UserError, match="past epoch 1: give --epochs 2"):
        train(run, stopped, "--epochs", "1")
    train(run, stopped)
    assert all((x == y).all() for x, y in zip(a, load_rnn(str(stopped / "rnn" / "rnn.keras")).get_weights(), strict=True))
    checkpoint = next((stopped / "rnn").glob("checkpoint-*.weights.h5"))
    with pytest.raises(UserError, match="is a checkpoint, which goes on where it is: give the .keras file"):
        train(run, copy_of(run, tmp_path / "other", "vae", "series"), "--start", str(checkpoint))
    with pytest.raises(UserError, match="--learning-rate 0.001, not 0.1"):
        train(run, stopped, "--learning-rate", "0.1")


def test_too_little_and_too_wild_are_said(run, tmp_path, capsys):
    copy_of(run, tmp_path, "vae", "series")
    if run.game.whole_episodes:
        train(run, tmp_path, "--epochs", "1")
        assert "4 of 4 episodes are longer than 25 transitions" in capsys.readouterr().out
        shutil.rmtree(tmp_path / "rnn")
    else:
        with pytest.raises(UserError, match="have 339 transitions, fewer than the 20 x 25.*--batch-size or --seq-len"):
            train(run, tmp_path, "--batch-size", "20")
    with pytest.raises(UserError, match="the loss became"):
        train(run, tmp_path, "--learning-rate", "1e30")
    assert not os.path.exists(tmp_path / "rnn" / "rnn.keras")


def test_m_learns_a_world_of_which_the_next_step_is_known():
    """z moves by the action: after 150 updates the likelihood is far above that of the best guess without the action."""
    import keras

    from rnn.rnn import MDNRNN
    from rnn.teacher import Teacher

    rng = np.random.default_rng(0)
    action = rng.choice([-1, 1], (8, 20, 1)).astype(np.float16)
    mu = np.concatenate([np.zeros((8, 1, 1)), action], axis=1).astype(np.float16)  # the next z is the action
    batch = {"mu": mu, "logvar": np.full_like(mu, -6), "action": np.concatenate([action, action[:, :1]], axis=1)}
    batch |= {"restart": np.zeros((8, 21), np.float32), "mask": np.ones((8, 20), np.float32)}
    keras.utils.set_random_seed(0)
    teacher = Teacher(MDNRNN(1, 1, 16), 8, carry=False, restart_weight=10.0, seed=0)
    teacher.compile(optimizer=keras.optimizers.Adam(0.01, clipvalue=1.0), jit_compile=True)
    losses = [teacher.train_on_batch(batch, return_dict=True)["loss"] for _ in range(150)]
    assert losses[0] > 0.9 and np.mean(losses[-5:]) < -0.5


def test_m_learns_the_reward_and_the_next_action():
    """A row's actions change their sign at each step, and the reward is three times the action: both can be predicted."""
    import keras

    from rnn.rnn import MDNRNN
    from rnn.teacher import Teacher

    rng = np.random.default_rng(0)
    action = (rng.uniform(-1, 1, (8, 1, 2)) * (-1.0) ** np.arange(21)[:, None]).astype(np.float16)
    restart = np.zeros((8, 21), np.float32)
    restart[:, 12] = 1
    batch = {"mu": np.zeros((8, 21, 1), np.float16), "logvar": np.zeros((8, 21, 1), np.float16), "action": action}
    batch |= {"restart": restart, "reward": 3 * action[:, :-1, 0].astype(np.float32), "mask": np.ones((8, 20), np.float32)}
    keras.utils.set_random_seed(0)
    model = MDNRNN(1, 2, 16, predict_restart=True, predict_reward=True, predict_action=True)
    teacher = Teacher(model, 8, carry=False, restart_weight=10.0, seed=0, reward_scale=3.0)
    teacher.compile(optimizer=keras.optimizers.Adam(0.01, clipvalue=1.0), jit_compile=False)
    first = teacher.evaluate(tf_batches(batch), verbose=0, return_dict=True)
    said = model.sequence(np.zeros((8, 20, 1), np.float32), action[:, :-1], restart[:, :-1])[0]
    assert said.reward.shape == (8, 20) and said.action.shape == (8, 20, 2)
    losses = [teacher.train_on_batch(batch, return_dict=True) for _ in range(300)]
    for name in ("reward", "action"):
        assert losses[-1][name] < 0.02 < 0.1 < first[name], name
    last = losses[-1]
    assert last["loss"] == pytest.approx(last["nll"] + last["restart"] + last["reward"] + last["action"], rel=1e-4)


def test_rewards_below_the_least_are_the_least():
    from rnn.rnn import MDNRNN
    from rnn.teacher import Teacher

    model = MDNRNN(1, 1, 16, predict_reward=True)
    model.set_weights([0 * weight for weight in model.get_weights()])  # it predicts a reward of 0
    batch = {name: np.zeros((2, 5, 1), np.float16) for name in ("mu", "logvar", "action")}
    batch |= {"restart": np.zeros((2, 5), np.float32), "mask": np.ones((2, 4), np.float32)}
    batch["reward"] = np.float32([[-100, 3, 0, 0], [-1, 0, 0, -100]])
    teacher = Teacher(model, 2, carry=False, restart_weight=1.0, seed=0, reward_scale=2.0, least_reward=-1.0)
    teacher.compile(jit_compile=False)
    told = teacher.evaluate(tf_batches(batch), verbose=0, return_dict=True)
    assert told["reward"] == pytest.approx((3 * 0.5**2 + 1.5**2) / 8)


def tf_batches(batch):
    import tensorflow as tf

    return tf.data.Dataset.from_tensors(batch)


@pytest.mark.parametrize("what", ["vae", "rnn"])
def test_training_begins_with_the_weights_that_are_given(run, tmp_path, what):
    from rnn.rnn import MDNRNN, load_rnn
    from vae.train import main as train_vae
    from vae.vae import ConvVAE, load_vae

    game = run.game
    sizes = game.z_size, game.action_size, 16, 5, game.predict_restart
    given, load = (ConvVAE(game.z_size, channels=8), load_vae) if what == "vae" else (MDNRNN(*sizes), load_rnn)
    given.save(tmp_path / "given.keras")
    given.save_json(tmp_path / "given.json")

    def trained(folder, *start):
        if not folder.exists():
            copy_of(run, folder, "record", "series", *(["vae"] if what == "rnn" else []))
            for e in range(3 if what == "vae" else 0):  # V takes longer: two short episodes are enough for it
                os.remove(episode_path(folder / "record", e))
        if what == "vae":
            train_vae([game.name, "--scale", "smoke", "--run-dir", str(folder), "--learning-rate", "1e-9", *start])
        else:
            train(run, folder, "--learning-rate", "1e-9", *start)
        return load(str(folder / what / f"{what}.keras")).trainable_weights

    kind = "keras" if game.name == "doom" else "json"  # V and M each begin with both, one in each game
    weights = trained(tmp_path / kind, "--start", str(tmp_path / f"given.{kind}"))
    for weight, expected in zip(weights, given.trainable_weights, strict=True):
        np.testing.assert_allclose(weight, expected, atol=1e-4)
    with pytest.raises(UserError, match="made with --start"):  # another training than the existing one
        trained(tmp_path / kind)
    with pytest.raises(UserError, match="nothing.json, which is no file"):
        trained(tmp_path / kind, "--start", str(tmp_path / "nothing.json"))


def test_c_learns_in_the_dream_of_an_m_that_predicts_rewards(run, tmp_path):
    """This M goes on from one that did not predict them."""
    import train as search
    from dream.dream import load_dream
    from evaluate import main as evaluate
    from rnn.rnn import load_rnn

    copy_of(run, tmp_path, "series", "vae")
    train(run, tmp_path, "--no-predict-reward")
    shutil.move(tmp_path / "rnn", tmp_path / "before")
    small = [run.game.name, "--scale", "smoke", "--run-dir", str(tmp_path), "--world", "dream", "-n", "1"]
    start = "--start", str(tmp_path / "before" / "rnn.keras")
    train(run, tmp_path, "--predict-reward", "--learning-rate", "1e-9", *start)
    before, rnn = (load_rnn(str(tmp_path / name / "rnn.keras")) for name in ("before", "rnn"))
    h = np.random.default_rng(0).normal(size=(3, 16)).astype(np.float32)
    told, expected = rnn.head(h), before.head(h)
    for name in ("logits", "mean", "log_std", "restart_logit"):
        if (part := getattr(expected, name)) is not None:
            np.testing.assert_allclose(getattr(told, name), part, atol=1e-5)
    np.testing.assert_allclose(told.reward, np.zeros(3), atol=1e-5)

    *weights, bias = rnn.get_weights()
    bias[rnn.layout.slices["reward"]] = 0.25
    rnn.set_weights([*weights, bias])
    rnn.save(tmp_path / "rnn" / "rnn.keras")
    dream, seeds = load_dream(str(tmp_path), run.game), np.arange(2, dtype=np.uint32)
    z, state = dream.start(seeds)
    reward = dream.step(z, np.zeros((2, run.game.action_size), np.float32), state, seeds, np.zeros(2, np.int32))[2]
    np.testing.assert_allclose(reward, np.full(2, 0.25 * run.game.reward_scale), atol=1e-3)
    search.main([*small, "--generations", "1"])
    evaluate([*small, "--episodes", "2"])
    scored = json.loads((tmp_path / "evaluate" / "dream-test.json").read_text())
    np.testing.assert_allclose(scored["scores"], 0.25 * run.game.reward_scale * np.array(scored["steps"]), rtol=0.02)


def test_sequences_and_dreams_begin_anywhere(tmp_path):
    """Half of the rows begin with the episode, the others in its midst; dreams begin there in M's state."""
    import tensorflow as tf

    from dream.dream import load_dream
    from rnn.batches import Series, whole_episodes
    from rnn.beginnings import states
    from rnn.train import main
    from rnn.world_model import load_memory

    game, rng = config.GAMES["pendulum"], np.random.default_rng(0)
    length, ends = np.full(40, 30, np.int32), np.zeros(40, bool)
    parts = {"mu": game.z_size, "logvar": game.z_size, "action": 1}
    arrays = {name: rng.normal(size=(1200, size)).astype(np.float16) for name, size in parts.items()}
    arrays["logvar"] -= 20  # so that a sampled z is its mu
    names = [f"{e:06d}.npz" for e in range(40)]
    for stage in ("series", "vae"):
        (tmp_path / stage).mkdir()
    (tmp_path / "vae" / "vae.keras").write_text("M's training reads nothing but its digest")
    vae = digest(str(tmp_path / "vae" / "vae.keras"))
    told = {"reward": np.zeros(1200, np.float32), "length": length, "ended": ends, "episode": names, "vae": vae}
    pack(str(tmp_path / "series" / "series.npz"), {**arrays, **told})
    series = Series(str(tmp_path / "series" / "series.npz"))

    plans = [whole_episodes(series, np.arange(40), 8, 20, rng) for _ in range(50)]
    index, mask = (np.concatenate(part) for part in zip(*(batch for plan in plans for batch in plan), strict=True))
    begins = index[:, 0] % 30
    assert 0.4 < np.mean(begins == 0) < 0.6 and set(begins) == set(range(29))
    assert (mask.sum(axis=1) == np.minimum(29 - begins, 20)).all()

    options = ["--seq-len", "20", "--batch-size", "8", "--rnn-size", "16", "--epochs", "1", "--anywhere"]
    with pytest.raises(UserError, match="--anywhere is for an M"):
        main(["doom", "--run-dir", str(tmp_path), *options])
    main(["pendulum", "--run-dir", str(tmp_path), *options])
    rnn = load_memory(str(tmp_path), game)
    h, c = states(rnn, series, np.array([7 * 30 + 12, 3 * 30]), np.array([12, 0]))
    _, (true_h, true_c) = rnn.sequence(*(tf.constant(array[None, 210:222], tf.float32) for array in (series.mu, series.action)))
    np.testing.assert_allclose(h, [true_h[0], np.zeros(16)], atol=1e-5)
    np.testing.assert_allclose(c, [true_c[0], np.zeros(16)], atol=1e-5)

    seeds = np.arange(500, dtype=np.uint32)
    z, (h, _) = load_dream(str(tmp_path), game, learning=True).start(seeds)
    frame = np.abs(np.float32(series.mu)[None] - z.numpy()[:, None]).sum(axis=2).argmin(axis=1)  # (500,), where each begins
    assert 0.4 < np.mean(frame % 30 == 0) < 0.6 and len(set(frame % 30)) == 29
    expected, _ = states(rnn, series, frame, frame % 30)
    np.testing.assert_allclose(h, expected, atol=1e-5)
    z, (h, _) = load_dream(str(tmp_path), game).start(seeds)  # not for learning: from first frames alone
    frame = np.abs(np.float32(series.mu)[None] - z.numpy()[:, None]).sum(axis=2).argmin(axis=1)
    assert not (frame % 30).any() and not h.numpy().any()


def test_dropout_leaves_out_inputs_of_m_in_training_alone(run):
    """The loss and its gradient are those of the cell's steps with the same inputs left out."""
    import keras
    import tensorflow as tf

    from rnn.batches import Series, streams
    from rnn.rnn import MDNRNN
    from rnn.teacher import Teacher

    series = Series(str(run.folder / "series" / "series.npz"))
    keras.utils.set_random_seed(0)
    model = MDNRNN(run.game.z_size, run.game.action_size, 16, predict_restart=run.game.predict_restart)
    teacher = Teacher(model, 3, carry=False, restart_weight=1.0, seed=0, dropout=0.4)
    batch = series.batch(*next(streams(series, [0, 1, 2], 3, 12)))
    batch["logvar"] = np.full_like(batch["logvar"], -60)  # z is mu, all but
    batch["restart"][:] = 0
    factors = []
    teacher._factor = lambda some, size: factors.append(Teacher._factor(teacher, some, size)) or factors[-1]

    def loss(hidden):
        flat = [(tf.reshape(h, (-1, 16)), tf.reshape(target, (-1, model.z_size))) for h, target in hidden]
        return -tf.add_n([tf.reduce_sum(model.mixture(model.head(h)).log_prob(target)) for h, target in flat])

    with tf.GradientTape() as tape:
        value = loss(teacher(batch, training=True))
    gradient = tape.gradient(value, model.cell.trainable_variables)
    (on_z, on_h), z = factors, batch["mu"].astype(np.float32)
    assert 0.2 < (tf.concat(factors, axis=1).numpy() == 0).mean() < 0.6
    with tf.GradientTape() as tape:
        expected, (h, c) = 0, model.initial_state(3)
        for t in range(12):
            restart = np.zeros(3, np.float32)
            h, c = model.advance(z[:, t] * on_z, batch["action"][:, t].astype(np.float32), (h * on_h, c), restart)
            expected -= tf.reduce_sum(model.mixture(model.head(h)).log_prob(z[:, t + 1]))
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    for a, b in zip(gradient, tape.gradient(expected, model.cell.trainable_variables), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3 * np.abs(b).max())
    evaluated = [loss(teacher(batch)) for _ in range(2)]
    assert len(factors) == 2 and evaluated[0] == evaluated[1] != value
