"""V: the published network and loss, the shuffled stream of frames, and resuming a training."""

import json
import os
import shutil

import numpy as np
import pytest
from conftest import OTHER_PRECISION, needs_bfloat16, run_script

from config import UserError
from env.record import BadEpisode, episode_path, save_episode
from job.machine import check_precision, fast_precision
from job.rundir import read_log

TRAIN = ("carracing", "--scale", "smoke", "--batch-size", "10")


def record(folder, lengths, action_size=3):
    """A record/ of episodes with a moving bar; frame t of episode e has e in its first pixel and t in its second."""
    os.makedirs(folder / "record", exist_ok=True)
    for e, length in enumerate(lengths):
        rng = np.random.default_rng(e)
        action = rng.uniform(-1, 1, (length, action_size))
        obs = np.full((length, 64, 64, 3), 90, np.uint8)
        for t, at in enumerate((32 + np.cumsum(4 * action[:, 0])).astype(int) % 64):
            obs[t, :, max(at - 4, 0) : at + 4] = (250, 40, 0)
        obs[:, 0, 0], obs[:, 0, 1] = e, np.arange(length)[:, None]
        save_episode(episode_path(folder / "record", e), obs, action, np.ones(length), np.arange(length) == length - 1)
    return folder


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    return record(tmp_path_factory.mktemp("recorded"), [12, 15, 10, 13, 9])


def copy_of(recorded, folder):
    shutil.copytree(recorded / "record", folder / "record")
    return folder


def train(folder, *options):
    from vae.train import main

    main([*TRAIN, "--run-dir", str(folder), *options])


def weights(folder):
    from vae.vae import load_vae

    return load_vae(str(folder / "vae" / "vae.keras")).get_weights()


@needs_bfloat16
def test_bfloat16_computes_about_the_same_and_is_saved_as_float32(tmp_path):
    from vae.vae import ConvVAE, load_vae

    half = ConvVAE(32, precision="bfloat16")
    half.save(tmp_path / "v.keras")
    whole = load_vae(str(tmp_path / "v.keras"))
    frames = np.random.default_rng(0).integers(0, 256, (8, 64, 64, 3), dtype=np.uint8)
    exact, near = whole.encode(frames)[0].numpy(), half.encode(frames)[0].numpy()
    assert near.dtype == exact.dtype == np.float32
    deviation = np.abs(near - exact).max() / np.abs(exact).max()
    assert 0 < deviation < 0.03  # bfloat16 has 8 bits
    np.testing.assert_array_equal(whole.in_precision("bfloat16").encode(frames)[0], near)
    np.testing.assert_allclose(half.decode(near), whole.decode(near), atol=0.01)


@pytest.mark.parametrize(
    "vendor, flags, precision",
    [
        ("AuthenticAMD", "avx512f avx512_bf16", "bfloat16"),
        ("AuthenticAMD", "avx2", "float32"),
        ("GenuineIntel", "avx512f avx512_bf16 amx_bf16", "bfloat16"),
        ("GenuineIntel", "avx512f avx512_bf16 avx512_fp16", "float32"),
    ],
)
def test_precision_is_what_the_processor_is_fast_with(tmp_path, monkeypatch, vendor, flags, precision):
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    core = f"processor\t: 0\nvendor_id\t: {vendor}\nmodel name\t: A processor: 2.0 GHz\nflags\t\t: fpu {flags}\nbugs\t\t:\n\n"
    (tmp_path / "cpuinfo").write_text(2 * core)
    assert fast_precision(str(tmp_path / "cpuinfo")) == precision
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    assert fast_precision(str(tmp_path / "cpuinfo")) == "float32"
    with pytest.raises(UserError, match="unset it, or choose float32"):
        check_precision("bfloat16")


def test_precision_is_as_published_where_the_processor_is_unknown(tmp_path):
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nFeatures\t: fp asimd bf16\n")
    assert fast_precision(str(tmp_path / "cpuinfo")) == fast_precision(str(tmp_path / "none")) == "float32"


@pytest.mark.parametrize(("z_size", "parameters"), [(32, 4_348_547), (64, 4_446_915)])
def test_parameters_and_shapes(z_size, parameters):
    from vae.vae import ConvVAE

    model = ConvVAE(z_size)
    assert sum(int(np.prod(weight.shape)) for weight in model.trainable_weights) == parameters
    frames = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    mu, logvar = model.encode(frames)
    assert mu.shape == logvar.shape == (3, z_size)
    np.testing.assert_allclose(model.encode(frames.astype(np.float32) / 255)[0], mu, atol=1e-5)
    picture = model.decode(mu).numpy()
    assert picture.shape == (3, 64, 64, 3) and picture.min() >= 0 and picture.max() <= 1
    noise = np.random.default_rng(1).normal(size=(3, z_size)).astype(np.float32)
    np.testing.assert_allclose(model.encode_sample(frames, noise), mu + np.exp(logvar / 2) * noise, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(
    "ours, kerases, filters, size, given, made",
    [
        ("Conv2D", "Conv2D", 12, 4, (3, 9, 12, 8), (3, 3, 5, 12)),
        ("PatchConv", "Conv2D", 16, 4, (3, 7, 10, 8), (3, 2, 4, 16)),
        ("PixelTranspose", "Conv2DTranspose", 128, 5, (4, 1, 1, 1024), (4, 5, 5, 128)),
        ("Conv2DTranspose", "Conv2DTranspose", 3, 6, (2, 5, 4, 8), (2, 14, 12, 3)),
    ],
)
def test_layers_are_kerass_and_so_are_their_gradients(ours, kerases, filters, size, given, made, training):
    import keras
    import tensorflow as tf

    import vae.layers

    kinds = getattr(vae.layers, ours), getattr(keras.layers, kerases)
    layers = [kind(filters, size, strides=2, activation="relu", bias_initializer="random_normal") for kind in kinds]
    rng = np.random.default_rng(0)
    inputs, upstream = (tf.constant(rng.normal(size=shape), tf.float32) for shape in (given, made))

    @tf.function
    def results(layer, **keywords):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = layer(inputs, **keywords)
        return outputs, *tape.gradient(outputs, [inputs, *layer.trainable_variables], upstream)

    for layer in layers:
        layer.build(given)
    layers[1].set_weights(layers[0].get_weights())
    learns = {"training": training} if ours != "PixelTranspose" else {}
    for mine, theirs in zip(results(layers[0], **learns), results(layers[1]), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-4)
    assert results(layers[0], **learns)[0].shape == made


@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-5), pytest.param("bfloat16", 0.2, marks=needs_bfloat16)])
def test_gradients_in_training_are_those_of_kerass_layers(precision, tolerance):
    """For all weights. Outside training the layers are Keras's, whose gradient of the last bias is 12% off in bfloat16."""
    import tensorflow as tf

    from vae.vae import ConvVAE

    model = ConvVAE(32, precision=precision)
    frames = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), dtype=np.uint8)

    def gradients(training):
        model.noise.state.assign([0, 0])
        with tf.GradientTape() as tape:
            loss = model.compute_loss(x=frames, y_pred=model(frames, training=training))
        return tape.gradient(loss, model.trainable_variables)

    for mine, theirs in zip(gradients(True), gradients(False), strict=True):
        assert np.linalg.norm(mine - theirs) < tolerance * np.linalg.norm(theirs)


def test_adam_is_kerass():
    import keras

    from job.training import Adam

    rng = np.random.default_rng(0)
    first = [rng.normal(size=shape).astype(np.float32) for shape in ((7, 3), (5,))]
    mine, theirs = ([keras.Variable(value) for value in first] for _ in range(2))
    optimizers = Adam(0.01), keras.optimizers.Adam(0.01)
    for scale in (1, 1e-3, 10):
        gradients = [keras.ops.convert_to_tensor(scale * rng.normal(size=value.shape).astype(np.float32)) for value in first]
        for optimizer, variables in zip(optimizers, (mine, theirs), strict=True):
            optimizer.apply(gradients, variables)
    states = [[variable.numpy() for variable in optimizer.variables] for optimizer in optimizers]
    for one, other in zip([*mine, *states[0]], [*theirs, *states[1]], strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-5)  # 1 - 0.999 of float32, where Keras takes 0.001


@pytest.mark.parametrize("tolerance", [0.5, 0.001])
def test_loss_is_the_published_one(tolerance):
    """The sum of squared errors, and KL with its floor, of each image, averaged over the batch, in float64."""
    from vae.vae import ConvVAE

    model = ConvVAE(32, kl_tolerance=tolerance)
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    reconstruction = rng.random((3, 64, 64, 3)).astype(np.float32)
    mu, logvar = (rng.normal(size=(3, 32)).astype(np.float32) * np.array([[0.01], [0.3], [2]], np.float32) for _ in range(2))
    error = np.square(frames / 255 - reconstruction.astype(float)).sum(axis=(1, 2, 3))
    kl = 0.5 * (np.square(mu.astype(float)) + np.exp(logvar.astype(float)) - 1 - logvar).sum(axis=1)
    expected = (error + np.maximum(kl, tolerance * 32)).mean()
    loss = model.compute_loss(x=frames, y_pred=(reconstruction, mu, logvar))
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


def test_v_can_begin_with_the_mean_color():
    """Its first pictures then have nearly that colour; otherwise they are grey."""
    import keras

    from vae.vae import ConvVAE

    keras.utils.set_random_seed(0)
    model, color = ConvVAE(8), np.array([0.9, 0.95, 0.2])
    z = np.random.default_rng(0).normal(size=(4, 8)).astype(np.float32)
    assert abs(model.decode(z).numpy().mean(axis=(0, 1, 2)) - 0.5).max() < 0.05
    model.begin_at(color)
    assert abs(model.decode(z).numpy().mean(axis=(0, 1, 2)) - color).max() < 0.05


def test_saved_with_the_state_of_its_noise(tmp_path):
    from vae.vae import ConvVAE, load_vae

    model = ConvVAE(32, seed=3)
    frames = np.zeros((2, 64, 64, 3), np.uint8)
    first = model(frames)[0].numpy()
    model.save(tmp_path / "v.keras")
    second = model(frames)[0].numpy()
    loaded = load_vae(str(tmp_path / "v.keras"))
    assert (loaded(frames)[0].numpy() == second).all() and (first != second).any()
    assert loaded.get_config()["seed"] == 3


def test_unusable_weights_are_named(tmp_path):
    from rnn.rnn import MDNRNN
    from vae.vae import ConvVAE, load_vae

    (tmp_path / "cut.keras").write_bytes(b"PK\x03\x04 nothing more")
    MDNRNN(32, 3, 8).save(tmp_path / "m.keras")
    broken = ConvVAE(32)
    values = broken.get_weights()
    values[4][0, 0, 0, 0] = np.nan
    broken.set_weights(values)
    broken.save(tmp_path / "nan.keras")
    for name, word in {"cut": "read", "m": "MDNRNN", "nan": "not finite", "missing": "read"}.items():
        with pytest.raises(UserError, match=rf"{name}\.keras.*{word}"):
            load_vae(str(tmp_path / f"{name}.keras"))


def test_stream_gives_each_frame_once_and_mixes_episodes(recorded):
    from env.record import list_episodes
    from vae.frames import FrameStream

    def read(seed):
        paths = list_episodes(recorded / "record")
        stream = FrameStream(paths, 3, 10, 5, np.random.default_rng(seed), buffer_frames=20)
        return [batch[:, 0, :2, 0] for batch in stream]

    batches = read(0)
    assert [len(batch) for batch in batches] == [10] * 5
    seen = {tuple(frame) for frame in np.concatenate(batches).tolist()}
    assert len(seen) == 50  # of 59: none twice
    assert max(len(set(batch[:, 0])) for batch in batches) > 1
    assert all((a == b).all() for a, b in zip(batches, read(0), strict=True))
    assert not all((a == b).all() for a, b in zip(batches, read(1), strict=True))


def test_mirrored_stream_turns_half_of_the_same_frames(recorded):
    from env.record import list_episodes
    from vae.frames import FrameStream

    def read(mirror):
        stream = FrameStream(list_episodes(recorded / "record"), 3, 50, 1, np.random.default_rng(0), mirror=mirror)
        (batch,) = stream
        return batch

    plain, mirrored = read(False), read(True)
    alike = (plain == mirrored).all(axis=(1, 2, 3))
    turned = (plain[:, :, ::-1] == mirrored).all(axis=(1, 2, 3))
    assert (alike ^ turned).all() and 15 < turned.sum() < 35


def test_shards_hold_each_episode_once():
    from vae.frames import shards

    paths = [f"{i:06d}.npz" for i in range(250)]
    parts = shards(paths, 0, 0)
    assert [len(part) for part in parts] == [84, 83, 83]
    assert sorted(np.concatenate(parts).tolist()) == list(range(250))
    assert (parts[0] != shards(paths, 0, 1)[0]).any()


def test_stopped_training_ends_with_the_same_weights(recorded, tmp_path, monkeypatch, capsys):
    import vae.frames
    from job.training import Checkpoints

    monkeypatch.setattr(vae.frames, "SHARD_EPISODES", 2)  # two parts in each epoch
    whole, stopped = copy_of(recorded, tmp_path / "whole"), copy_of(recorded, tmp_path / "stopped")
    train(whole, "--epochs", "2", *OTHER_PRECISION)
    train(stopped, "--epochs", "1", *OTHER_PRECISION)
    save = Checkpoints.save

    def save_and_stop(self, model, done):
        save(self, model, done)
        raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoints, "save", save_and_stop)
    with pytest.raises(KeyboardInterrupt):
        train(stopped, "--epochs", "2")  # one more part, of two
    monkeypatch.setattr(Checkpoints, "save", save)
    train(stopped, "--epochs", "2")
    assert all((a == b).all() for a, b in zip(weights(whole), weights(stopped), strict=True))

    rows = [json.loads(line) for line in (stopped / "vae" / "log.jsonl").read_text().splitlines()]
    rows = [row for row in rows if "loss" in row]
    lengths = np.array([12, 15, 10, 13])  # the fifth is held out
    updates = [sum(lengths[chosen]) // 10 for epoch in (0, 1) for chosen in vae.frames.shards("abcd", 0, epoch)]
    assert [(row["epoch"], row["part"]) for row in rows] == [(1, 1), (1, 2), (2, 1), (2, 2)]
    assert [row["updates"] for row in rows] == np.cumsum(updates).tolist()
    assert [("val_loss" in row) for row in rows] == [False, True, False, True]
    assert os.listdir(stopped / "vae" / "tensorboard")
    assert json.loads((stopped / "vae" / "config.json").read_text())["settings"]["vae_epochs"] == 2
    capsys.readouterr()
    before = (stopped / "vae" / "vae.keras").read_bytes()
    train(stopped, "--epochs", "2")
    assert "finished" in capsys.readouterr().out and (stopped / "vae" / "vae.keras").read_bytes() == before

    os.remove(stopped / "vae" / "vae.keras")  # the last checkpoint still has it
    with pytest.raises(UserError, match="past epoch 1: give --epochs 2"):
        train(stopped, "--epochs", "1")
    assert json.loads((stopped / "vae" / "config.json").read_text())["settings"]["vae_epochs"] == 2
    train(stopped, "--epochs", "2")
    assert all((a == b).all() for a, b in zip(weights(whole), weights(stopped), strict=True))


def test_episodes_that_were_recorded_again_are_noticed(recorded, tmp_path):
    folder = copy_of(recorded, tmp_path)
    train(folder)
    path = folder / "record" / "000001.npz"
    with np.load(path) as file:
        arrays = dict(file)
    path.unlink()
    np.savez_compressed(path, **{**arrays, "obs": 255 - arrays["obs"]})
    with pytest.raises(UserError, match="was made with contents="):
        train(folder)


def test_training_stops_where_the_held_out_loss_stands_still(recorded, tmp_path, capsys):
    """After three passes that gained less than nine tenths; and there is nothing left to do when it is run again."""
    folder = copy_of(recorded, tmp_path)
    train(folder, "--epochs", "9", "--min-gain", "0.9")
    losses = [row["val_loss"] for row in read_log(folder / "vae") if "val_loss" in row]
    assert len(losses) == 4 and min(losses[1:]) > 0.1 * losses[0]
    before = (folder / "vae" / "vae.keras").read_bytes()
    capsys.readouterr()
    train(folder, "--epochs", "9", "--min-gain", "0.9")
    assert "is finished" in capsys.readouterr().out and (folder / "vae" / "vae.keras").read_bytes() == before


def test_a_loss_that_falls_in_any_of_the_last_passes_does_not_stand_still():
    from vae.training import stands_still

    assert not stands_still([10, 9, 8, 7.9], 0.01)
    assert stands_still([10, 9.99, 9.95, 9.91], 0.01) and not stands_still([10, 9.99, 9.95, 9.89], 0.01)
    assert not stands_still([10, 12, 11], 0.01)  # too few to tell
    assert not stands_still([10, 20, 11, 12, 13, 9.8], 0.01)


def spoil(folder, kind, number):
    path = episode_path(folder / "record", number)
    if kind == "empty":
        open(path, "w").close()
    elif kind == "truncated":
        os.truncate(path, os.path.getsize(path) // 2)
    elif kind == "shape":
        save_episode(path, np.zeros((30, 32, 32, 3), np.uint8), np.zeros((30, 3)), np.zeros(30), np.zeros(30, bool))
    elif kind == "content":  # headers are right, the compressed frames are not
        with open(path, "r+b") as file:
            file.seek(600)
            file.write(b"\xff" * 200)
    return path


@pytest.mark.parametrize("kinds", [["empty", "truncated", "shape"], ["content"]], ids="-".join)
def test_bad_episodes_are_named_and_can_be_skipped(recorded, tmp_path, kinds, capsys):
    """Each alone is named. Those with bad headers are skipped together, and so is one with good headers."""
    together = copy_of(recorded, tmp_path / "together")
    for number, kind in enumerate(kinds, 1):
        alone = copy_of(recorded, tmp_path / kind)
        spoil(alone, kind, number), spoil(together, kind, number)
        with pytest.raises(BadEpisode, match=f"00000{number}.npz.*--skip-bad"):
            train(alone)
        assert not os.path.exists(alone / "vae" / "vae.keras")
    train(together, "--skip-bad")
    told = capsys.readouterr().err
    assert all(episode_path(together / "record", number) in told for number in range(1, len(kinds) + 1))
    assert all(np.isfinite(weight).all() for weight in weights(together))


def test_what_cannot_be_trained_on_is_said(tmp_path, recorded):
    with pytest.raises(UserError, match="python extract.py carracing"):
        train(tmp_path)
    copy_of(recorded, tmp_path)
    with pytest.raises(UserError, match="50 frames to train on, fewer than a batch of 500"):
        train(tmp_path, "--batch-size", "500")
    with pytest.raises(UserError, match="the loss became"):
        train(tmp_path, "--learning-rate", "1e30")
    assert not os.path.exists(tmp_path / "vae" / "vae.keras")


def test_the_users_keras_settings_are_set_aside_and_said(tmp_path):
    """A backend, channels first and float16: V and M would not be what they are."""
    (tmp_path / "keras.json").write_text(json.dumps({"floatx": "float16", "image_data_format": "channels_first"}))
    program = """
import numpy as np
from vae.vae import ConvVAE
mu, _ = ConvVAE(4).encode(np.zeros((2, 64, 64, 3), np.uint8))
print(mu.shape, mu.dtype.name)
"""
    done = run_script("-c", program, environment={"KERAS_HOME": str(tmp_path), "KERAS_BACKEND": "jax"})
    assert done.stdout == "(2, 4) float32\n"
    said = "Keras is set to jax, float16, channels_first; this project uses the backend tensorflow, float32 and channels_last"
    assert said in done.stderr
