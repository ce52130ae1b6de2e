"""The real games: Gymnasium's checks, CarRacing's physics, preprocessing, bad input."""

import pickle
import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from PIL import Image

import env
from config import GAMES, UserError
from env.policies import uniform_policy
from env.preprocess import legacy, paper

CAR, DOOM = GAMES["carracing"], GAMES["doom"]
BOTH = pytest.mark.parametrize("game", [CAR, DOOM], ids=["car", "doom"])

pytestmark = [
    pytest.mark.filterwarnings("error"),
    # Warnings at import on newer Pythons, from Box2D's swig bindings and pygame's use of setuptools.
    pytest.mark.filterwarnings("ignore:builtin type .* has no __module__ attribute:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:pkg_resources is deprecated:UserWarning"),
]


def _driving(count, seed):
    """Actions (count, 3) float32 that reach tiles, leave the road, skid and brake."""
    rng = np.random.default_rng(seed)
    steer = np.cumsum(rng.normal(0, 0.1, count)).clip(-1, 1)
    return np.stack([steer, rng.uniform(0, 0.7, count), rng.uniform(-0.6, 0.3, count).clip(0)], axis=1).astype(np.float32)


def _state(world):
    """The state of everything that moves, as plain numbers."""
    bodies = [world.car.hull, *world.car.wheels]
    moving = [(*body.position, body.angle, *body.linearVelocity, body.angularVelocity) for body in bodies]
    turning = [(wheel.phase, wheel.omega, wheel.gas, wheel.joint.angle, len(wheel.tiles)) for wheel in world.car.wheels]
    return moving, turning, world.tile_visited_count, world.t


@pytest.fixture
def make():
    """env.make; its environments are closed after the test."""
    worlds = []

    def make(game, **keywords):
        worlds.append(env.make(game, **keywords))
        return worlds[-1]

    yield make
    for world in worlds:
        world.close()


@pytest.mark.parametrize(
    "game, keywords",
    [
        *[(CAR, {}), (CAR, {"look": "v3"}), (CAR, {"look": "gymnasium"}), (CAR, {"preprocess": "legacy"})],
        *[(DOOM, {}), (DOOM, {"preprocess": "legacy"})],
        *[(GAMES["pendulum"], {}), (GAMES["pendulum"], {"begin": "anywhere"})],
    ],
    ids=["car", "car-v3", "car-gymnasium", "car-legacy", "doom", "doom-legacy", "pendulum", "pendulum-anywhere"],
)
def test_gymnasium_checks_it_without_a_warning(make, game, keywords):
    check_env(make(game, **keywords))


@BOTH
def test_stable_baselines_checks_it(make, game):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own imports
        checker = pytest.importorskip("stable_baselines3.common.env_checker")
    with warnings.catch_warnings():
        symmetric = "We recommend you to use a symmetric and normalized Box action space"
        warnings.filterwarnings("ignore", symmetric)  # gas and brake in [0, 1] are Gymnasium's
        checker.check_env(make(game))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_physics_rewards_and_seeds_are_gymnasiums_bit_for_bit(make, seed):
    ours, theirs = make(CAR), gymnasium.make("CarRacing-v3").unwrapped
    ours.reset(seed=seed), theirs.reset(seed=seed)
    assert ours.track == theirs.track
    reached = 0
    for action in _driving(150, seed):
        _, *ours_says = ours.step(action)
        _, *theirs_says = theirs.step(action)
        assert ours_says == theirs_says
        assert _state(ours) == _state(theirs)
        reached += ours_says[0] > 1
    assert reached > 5  # the driving got somewhere
    assert ours.np_random.bit_generator.state == theirs.np_random.bit_generator.state


def test_v3_shows_what_gymnasium_shows(make):
    ours, theirs = make(CAR, look="v3"), gymnasium.make("CarRacing-v3").unwrapped
    differences = []
    for seed in range(3):
        frames = [(ours.reset(seed=seed)[0], theirs.reset(seed=seed)[0])]
        frames += [(ours.step(action)[0], theirs.step(action)[0]) for action in _driving(150, seed)]
        differences += [np.abs(frame - paper(shown[:84]).astype(int)) for frame, shown in frames]
    per_frame = np.mean(differences, axis=(1, 2, 3))
    assert per_frame.mean() <= 0.2 and per_frame.max() <= 0.5  # of 255; without the car 0.45 and 0.77
    assert np.mean(np.array(differences) > 1) < 0.03  # if no tile lost its shade, 0.058


def test_gymnasiums_own_car_is_cropped_and_resized_and_nothing_else(make):
    ours, theirs = make(CAR, look="gymnasium"), gymnasium.make("CarRacing-v3").unwrapped
    np.testing.assert_array_equal(ours.reset(seed=5)[0], paper(theirs.reset(seed=5)[0][:84]))
    for action in _driving(30, 5):
        (frame, *ours_says), (shown, *theirs_says) = ours.step(action), theirs.step(action)
        np.testing.assert_array_equal(frame, paper(shown[:84]))
        assert ours_says == theirs_says


@pytest.mark.parametrize(
    "keywords", [{"continuous": False}, {"domain_randomize": True}, {"lap_complete_percent": 0.5}], ids=str
)
def test_gymnasiums_own_car_takes_gymnasiums_keywords(make, keywords):
    ours, theirs = make(CAR, look="gymnasium", **keywords), gymnasium.make("CarRacing-v3", **keywords).unwrapped
    assert ours.action_space == theirs.action_space
    assert ours.world.lap_complete_percent == theirs.lap_complete_percent == keywords.get("lap_complete_percent", 0.95)
    np.testing.assert_array_equal(ours.reset(seed=5)[0], paper(theirs.reset(seed=5)[0][:84]))
    for t, action in enumerate(_driving(30, 5)):
        action = action if theirs.continuous else (3, 3, 1)[t % 3]
        (frame, *ours_says), (shown, *theirs_says) = ours.step(action), theirs.step(action)
        np.testing.assert_array_equal(frame, paper(shown[:84]))
        assert ours_says == theirs_says


def test_other_looks_refuse_gymnasiums_keywords(make):
    with pytest.raises(UserError, match="look='gymnasium'"):
        make(CAR, continuous=False)


def test_the_cars_picture_for_people_is_gymnasiums(make):
    ours, theirs = make(CAR, render_mode="rgb_array"), gymnasium.make("CarRacing-v3", render_mode="rgb_array").unwrapped
    ours.reset(seed=3), theirs.reset(seed=3)
    for action in _driving(20, 3):
        ours.step(action), theirs.step(action)
    assert ours.render().shape == (400, 600, 3)
    np.testing.assert_array_equal(ours.render(), theirs.render())


@BOTH
def test_same_seed_and_actions_give_the_same_episode(make, game):
    def episode(world, seed):
        frames, rewards = [world.reset(seed=seed)[0]], []
        act = uniform_policy(game, np.random.default_rng(9))
        for t in range(60):
            frame, reward, *_ = world.step(act(t))
            frames.append(frame), rewards.append(reward)
        return np.array(frames), rewards

    world = make(game)
    frames, rewards = episode(world, 4)
    for again in (world, make(game)):
        frames_again, rewards_again = episode(again, 4)
        np.testing.assert_array_equal(frames, frames_again)
        assert rewards == rewards_again
    assert (frames != episode(world, 5)[0]).any()


@BOTH
def test_a_pickled_copy_is_a_world_of_its_own(make, game):
    world = make(game, preprocess="legacy")
    frame, _ = world.reset(seed=2)
    copy = pickle.loads(pickle.dumps(world))
    np.testing.assert_array_equal(copy.reset(seed=2)[0], frame)
    copy.close()
    world.step(np.zeros(game.action_size))  # still there


def test_the_registered_car_is_cut_after_1000_steps_and_the_bare_one_is_not(make):
    world = gymnasium.make(CAR.real_id)
    world.reset(seed=0)
    ends = [world.step(np.zeros(3, np.float32))[2:4] for _ in range(1000)]
    assert ends == [(False, False)] * 999 + [(False, True)]
    assert type(world.unwrapped) is type(make(CAR)) and make(CAR).unwrapped.spec.id == CAR.real_id
    world.close()


@BOTH
@pytest.mark.parametrize("wrong", [[0.0] * 4, 0.0, [[0.0]], [], "left", [None]], ids=str)
def test_an_action_of_the_wrong_shape_is_refused_in_a_sentence(make, game, wrong):
    world = make(game)
    world.reset(seed=0)
    with pytest.raises(UserError, match="^an action "):
        world.step(wrong)


@BOTH
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_action_that_is_not_finite_is_refused(make, game, value):
    world = make(game)
    world.reset(seed=0)
    with pytest.raises(UserError, match="finite"):
        world.step(np.full(game.action_size, value))


@BOTH
def test_a_step_before_reset_is_refused(make, game):
    with pytest.raises(gymnasium.error.ResetNeeded, match="reset"):
        make(game).step(np.zeros(game.action_size))


def test_unknown_looks_and_preprocessings_are_refused(make):
    for game, keywords in ((CAR, {"look": "v1"}), (CAR, {"preprocess": "grey"}), (DOOM, {"preprocess": "grey"})):
        with pytest.raises(UserError, match="^there is no .* choose one of"):
            make(game, **keywords)


@pytest.fixture(scope="module")
def crops():
    """Cropped frames of both games, and two uniform ones."""
    frames = [np.zeros((84, 96, 3), np.uint8), np.full((400, 640, 3), 77, np.uint8)]
    car, doom = env.make(CAR, look="v3", render_mode="rgb_array"), env.make(DOOM, render_mode="rgb_array")
    car.reset(seed=1), doom.reset(seed=1)
    for t in range(60):
        car.step(np.array([0.1, 0.3, 0])), doom.step(np.array([0.5]))
        if t % 20 == 0:
            frames += [np.ascontiguousarray(car.render()[:350]), doom.render()[:400]]
    frames += [frame[::4, ::4].copy() for frame in frames[2:]]  # more pixels for people, without enlarged blocks
    yield frames
    car.close(), doom.close()


def test_paper_is_a_triangle_filter_over_what_each_pixel_covers(crops):
    def weights(size):  # (64, size): a triangle as wide as two output pixels around each output pixel's centre
        scale = size / 64
        weight = np.maximum(0, 1 - np.abs((np.arange(size) + 0.5) / scale - (np.arange(64)[:, None] + 0.5)) / max(1, 1 / scale))
        return weight / weight.sum(axis=1, keepdims=True)

    for crop in crops:
        rows = np.floor(np.einsum("ow,hwc->hoc", weights(crop.shape[1]), crop) + 0.5)
        expected = np.floor(np.einsum("oh,hwc->owc", weights(crop.shape[0]), rows) + 0.5)
        difference = np.abs(paper(crop).astype(int) - expected)
        assert difference.max() <= 1 and (difference > 0).mean() < 0.01  # Pillow rounds in fixed point


def _released(crop):
    """The released code's preprocessing of a crop, step by step, the last one with integers."""
    values = crop.astype(np.float64) / 255.0
    spread = values.max() - values.min()
    scaled = (values - values.min()) * (255.0 / (1 if spread == 0 else spread))
    resized = np.array(Image.fromarray((scaled.clip(0, 255) + 0.5).astype(np.uint8)).resize((64, 64), Image.BILINEAR))
    return ((1.0 - resized) * 255).round().astype(np.int64) % 256


def test_legacy_is_the_released_code_byte_for_byte(crops):
    for crop in crops:
        np.testing.assert_array_equal(legacy(crop), _released(crop))
    assert (legacy(crops[0]) == 255).all()  # black becomes white


@BOTH
def test_legacy_frames_of_a_world_are_those_of_the_released_code(make, game):
    world = make(game, preprocess="legacy", render_mode="rgb_array")
    frames, crops = [world.reset(seed=3)[0]], []
    for t in range(100):
        bare = world.unwrapped
        crops.append(world.render()[:400] if game is DOOM else bare._look.picture(bare)[..., :3].copy())
        # The car leaves the road, and Doom's player walks to and fro.
        frames.append(world.step(np.array([0.1, 0.5, 0]) if game is CAR else np.array([np.sin(t / 10)]))[0])
    assert len({crop.tobytes() for crop in crops}) > 90
    for frame, crop in zip(frames[:100], crops, strict=True):
        np.testing.assert_array_equal(frame, _released(crop))
