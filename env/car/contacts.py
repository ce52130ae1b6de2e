"""The contacts of the car with the road: Gymnasium's `FrictionDetector`, with the same effects, in less time."""

from Box2D import b2Contact
from gymnasium.envs.box2d.car_racing import FrictionDetector

_FIXTURES = b2Contact.fixtureA.fget, b2Contact.fixtureB.fget


class Contacts(FrictionDetector):
    """Leaves the first contacts of each tile, which count, to Gymnasium. The others only say on which tiles a wheel is.

    touched: the numbers of tiles that were touched for the first time, by the hull or a wheel, since somebody cleared the list.
    """

    def __init__(self, env):
        super().__init__(env, env.lap_complete_percent)
        self._tiles = {_address(tile): tile for tile in env.road}
        self._wheels = {}
        self._seen = set()
        self.touched = []

    def add_wheels(self, car):
        self._wheels = {_address(wheel): wheel for wheel in car.wheels}

    def BeginContact(self, contact):
        tile, wheel = self._pair(contact)
        if tile is None or wheel is None and tile.idx in self._seen:
            return
        if wheel is not None and tile.road_visited:
            wheel.tiles.add(tile)
            return
        if tile.idx not in self._seen:
            self._seen.add(tile.idx)
            self.touched.append(tile.idx)
        super().BeginContact(contact)

    def EndContact(self, contact):
        tile, wheel = self._pair(contact)
        if tile is not None and wheel is not None:
            wheel.tiles.remove(tile)

    def _pair(self, contact):
        """(tile or None, wheel or None). The addresses of its fixtures take half the time of their bodies' userData."""
        a, b = [int(fixture(contact).this) for fixture in _FIXTURES]
        tiles, wheels = self._tiles, self._wheels
        return (tiles[a], wheels.get(b)) if a in tiles else (tiles.get(b), wheels.get(a))


def _address(body):
    """That of its only fixture."""
    (fixture,) = body.fixtures
    return int(fixture.this)
