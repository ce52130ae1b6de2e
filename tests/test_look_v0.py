"""The picture of CarRacing-v0, against the drawing commands of its source executed one by one, and by its properties."""

import math

import cv2
import numpy as np
import pytest
from gymnasium.envs.box2d.car_dynamics import SIZE, WHEEL_R, WHEEL_W

import env
from config import GAMES

FIELD = 2000 / 6


@pytest.fixture
def world():
    world = env.make(GAMES["carracing"])
    yield world
    world.close()


def _picture(world):
    return world._look.picture(world)[..., :3]


def _camera(world):
    """v0's transform, as in its source: world points (N,2) -> columns and rows (N,2) of the 96x96 picture."""
    hull = world.car.hull
    angle = -hull.angle
    if np.linalg.norm(hull.linearVelocity) > 0.5:
        angle = math.atan2(hull.linearVelocity[0], hull.linearVelocity[1])
    zoom = 0.6 * max(1 - world.t, 0) + 16.2 * min(world.t, 1)
    turn = zoom * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])

    def project(points):
        window = (np.asarray(points, float) - hull.position) @ turn.T + [600, 250]
        return np.stack([window[:, 0] / 1200 * 96, 96 - window[:, 1] / 1000 * 96], axis=1)

    return project


def _drawn(world):
    """(84,96,3): all polygons of v0's source in order, each filling the pixels whose centres are inside it."""
    project = _camera(world)
    column, row = np.meshgrid(np.arange(96) + 0.5, np.arange(84) + 0.5)
    picture = np.zeros((84, 96, 3), np.uint8)

    def draw(polygon, color):
        corners = project(polygon)
        sides = []
        for (x, y), (next_x, next_y) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
            sides.append((next_x - x) * (row - y) - (next_y - y) * (column - x))
        picture[(np.min(sides, axis=0) >= 0) | (np.max(sides, axis=0) <= 0)] = color

    draw([(-FIELD, FIELD), (FIELD, FIELD), (FIELD, -FIELD), (-FIELD, -FIELD)], (102, 204, 102))
    k = FIELD / 20
    for x in range(-20, 20, 2):
        for y in range(-20, 20, 2):
            draw([(k * x + k, k * y), (k * x, k * y), (k * x, k * y + k), (k * x + k, k * y + k)], (102, 229, 102))
    for quad, color in world.road_poly:
        draw(quad, np.rint(color))
    for wheel in world.car.wheels:
        draw([wheel.transform * v for v in wheel.fixtures[0].shape.vertices], (0, 0, 0))
        begin, end = wheel.phase, wheel.phase + 1.2
        if not (math.sin(begin) > 0 and math.sin(end) > 0):
            edges = [np.sign(math.cos(a)) if math.sin(a) > 0 else math.cos(a) for a in (begin, end)]
            ends = [(-WHEEL_W, WHEEL_R * edges[0]), (WHEEL_W, WHEEL_R * edges[0])]
            ends += [(WHEEL_W, WHEEL_R * edges[1]), (-WHEEL_W, WHEEL_R * edges[1])]
            draw([wheel.transform * (x * SIZE, y * SIZE) for x, y in ends], (77, 77, 77))
    for fixture in world.car.hull.fixtures:
        draw([world.car.hull.transform * v for v in fixture.shape.vertices], (204, 0, 0))
    return picture


def _drive(world, steps, action=(0, 0, 0)):
    for _ in range(steps):
        world.step(np.array(action, np.float64))


@pytest.mark.parametrize("seed", [0, 4])
def test_it_is_v0s_drawing(world, seed):
    world.reset(seed=seed)
    different, car_different, colors = [], [], set()
    for moment in range(20):
        picture, drawn = _picture(world), _drawn(world)
        wrong = (picture != drawn).any(axis=-1)
        different.append(wrong.mean())
        car_different.append(wrong[66:78, 42:54].sum())
        colors |= set(map(tuple, picture.reshape(-1, 3).tolist()))
        _drive(world, 9, (0.5 * math.sin(moment), 0.4, 0.1 * (moment % 3 == 2)))
    # The ground is sampled from an image with 3 pixels a unit: some pixels at edges get the neighbour's colour.
    assert np.mean(different) < 0.006 and np.max(different) < 0.02
    assert np.mean(car_different) < 1.5
    shades = {(102, 102, 102), (105, 105, 105), (107, 107, 107)}
    grounds = {(102, 204, 102), (102, 229, 102), (0, 0, 0), (255, 255, 255), (255, 0, 0)}
    assert colors == shades | grounds | {(77, 77, 77), (204, 0, 0)}


def test_at_full_zoom_light_squares_cover_284_pixels_of_the_frame(world):
    areas = []
    for seed in range(6):
        world.reset(seed=seed)
        _drive(world, 60)  # the zoom takes a second
        for _ in range(60):
            _drive(world, 4, (0.3, 0.5, 0))
            frame = world.state
            light = (frame[..., 1] > 216).astype(np.uint8) & (frame[..., 0] < 110)
            count, labels, boxes, _ = cv2.connectedComponentsWithStats(light)
            for i in range(1, count):
                x, y, width, height, area = boxes[i]
                around = cv2.dilate((labels == i).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
                whole = x > 2 and y > 2 and x + width < 62 and y + height < 62
                if whole and (frame[around][:, 1] > 200).all() and (frame[around][:, 0] < 104).all():  # no road, no car
                    areas.append(((frame[around][:, 1] - 204.0) / 25).sum())
    assert len(areas) > 100
    assert abs(np.mean(areas) - 284.4) < 2


def test_tiles_lose_their_shade_when_touched(world):
    world.reset(seed=1)
    _drive(world, 60)

    def shades(first, last):
        """The colours of tiles in the picture, beside the car's lane."""
        project, picture, seen = _camera(world), _picture(world), []
        for quad, _ in [item for item in world.road_poly if not isinstance(item[1], tuple)][first:last]:
            for share in (0.15, 0.85):
                left, right = np.array(quad)[[0, 3]].mean(axis=0), np.array(quad)[[1, 2]].mean(axis=0)
                column, row = np.floor(project([left + share * (right - left)])[0]).astype(int)
                seen.append(picture[row, column].tolist())
        return seen

    grey = lambda *values: [[value] * 3 for value in values for _ in range(2)]
    assert shades(0, 9) == grey(102, 102, 107, 102, 105, 107, 102, 105, 107)
    while world.tile_visited_count < 6:
        _drive(world, 1, (0, 0.1, 0))
    assert [tile.road_visited for tile in world.road[:9]] == [True] * 6 + [False] * 3
    # The hull's nose takes the shade of tile 6 before a wheel counts it; 0 to 2 are out of sight by now.
    assert shades(3, 6) == grey(102, 102, 102) and shades(7, 9) == grey(105, 107)


def test_the_view_narrows_during_the_first_second(world):
    world.reset(seed=0)
    assert (_picture(world) == 0).all(axis=-1).mean() > 0.3  # the whole field, and the black around it
    _drive(world, 10)
    roads = []
    for _ in range(5):
        _drive(world, 10)
        behind = _picture(world)[80].astype(int)
        roads.append(((np.ptp(behind, axis=-1) == 0) & (behind[:, 0] > 100)).sum())
    assert roads == sorted(roads) and roads[-1] == pytest.approx(2 * 40 / 6 * 0.08 * 16.2, abs=2)


def test_the_camera_looks_where_the_car_goes(world):
    world.reset(seed=0)
    _drive(world, 70, (0, 0.6, 0))
    _drive(world, 30, (1, 1, 0))
    sliding = math.remainder(math.atan2(*world.car.hull.linearVelocity) + world.car.hull.angle, 2 * math.pi)
    assert abs(sliding) > 0.3
    red = np.argwhere(_picture(world)[66:78, 42:54, 0] == 204) - 5.5
    rows, columns = red[:, 0] / 0.096, red[:, 1] / 0.08  # back to equal units
    tilt = 0.5 * math.atan2(2 * np.mean(rows * columns), np.mean(rows**2) - np.mean(columns**2))
    assert tilt == pytest.approx(sliding, abs=0.15)


def test_pictures_of_two_worlds_do_not_mix(world):
    other = env.make(GAMES["carracing"])
    first, _ = world.reset(seed=0)
    other.reset(seed=1)
    again = world._render("state_pixels")
    np.testing.assert_array_equal(first, again)
    other.close()
