"""The car's physics: Gymnasium's `car_dynamics.Car.step`, bit for bit, in less than half the time.

It only avoids overhead: NumPy functions on single numbers, and Box2D's accessors, which take longer than what they read. Box2D
returns references to its own memory, so a vector that is fetched once shows every later state.
"""

import ctypes
import math

from Box2D import b2Body, b2RevoluteJoint
from gymnasium.envs.box2d.car_dynamics import ENGINE_POWER, FRICTION_LIMIT, SIZE, WHEEL_MOMENT_OF_INERTIA

_ANGLE, _JOINT_ANGLE, _SET_MOTOR_SPEED = b2Body.angle.fget, b2RevoluteJoint.angle.fget, b2RevoluteJoint.motorSpeed.fset
_STIFFNESS = 205000 * SIZE * SIZE


def _floats(vector):
    """A function that returns the present [x, y] of a b2Vec2, or [sin, cos] of a b2Rot, which must stay alive."""
    return memoryview((ctypes.c_float * 2).from_address(int(vector.this))).cast("B").cast("f").tolist


class CarPhysics:
    """Reads and controls one `car_dynamics.Car`."""

    def __init__(self, car):
        self.car = car
        self._hull = car.hull, _floats(car.hull.position), _floats(car.hull.linearVelocity)
        self._wheels = [(w, w.joint, _floats(w.transform.q), _floats(w.linearVelocity)) for w in car.wheels]
        self._places = [(w, _floats(w.position)) for w in car.wheels]
        self.read()

    def read(self):
        """Store the hull's state in `hull`: (x, y, velocity's x, velocity's y, angle), in length units, s, radians."""
        body, position, velocity = self._hull
        self.hull = *position(), *velocity(), _ANGLE(body)

    def wheels(self):
        """[(x, y, angle, phase)] of the four wheels; the phase is the wheel's rotation, in radians."""
        return [(*position(), _ANGLE(wheel), wheel.phase) for wheel, position in self._places]

    def control(self, steer, gas, brake):
        """Gymnasium's `steer`, `gas` and `brake` of Car, with its signs; gas and brake in [0, 1]."""
        front_left, front_right, *rear = wheels = self.car.wheels
        front_left.steer = front_right.steer = -steer
        gas = min(max(gas, 0.0), 1.0)
        for wheel in rear:
            wheel.gas += min(gas - wheel.gas, 0.1)  # increases gradually, decreases at once
        for wheel in wheels:
            wheel.brake = brake

    def step(self, dt):
        """Steer, rotate and push the wheels for `dt` seconds, before Box2D's own step. Operations are in Gymnasium's order."""
        for wheel, joint, turn, velocity in self._wheels:
            error = wheel.steer - _JOINT_ANGLE(joint)
            _SET_MOTOR_SPEED(joint, math.copysign(min(50.0 * abs(error), 3.0), error))
            friction_limit = FRICTION_LIMIT if wheel.tiles else FRICTION_LIMIT * 0.6

            (sin, cos), (vx, vy) = turn(), velocity()
            forward, sideways = -sin * vx + cos * vy, cos * vx + sin * vy

            omega = wheel.omega
            omega += dt * ENGINE_POWER * wheel.gas / WHEEL_MOMENT_OF_INERTIA / (abs(omega) + 5.0)
            brake = wheel.brake
            if brake >= 0.9:
                omega = 0.0
            elif brake > 0:
                omega -= math.copysign(min(15 * brake, abs(omega)), omega)
            wheel.phase += omega * dt

            f_force = (-forward + omega * wheel.wheel_rad) * _STIFFNESS
            p_force = -sideways * _STIFFNESS
            force = math.sqrt(f_force * f_force + p_force * p_force)
            if force > 2.0 * friction_limit:
                self._skid(wheel)
            else:
                wheel.skid_start = wheel.skid_particle = None
            if force > friction_limit:
                f_force = f_force / force * friction_limit
                p_force = p_force / force * friction_limit
            wheel.omega = omega - dt * f_force * wheel.wheel_rad / WHEEL_MOMENT_OF_INERTIA
            wheel.ApplyForceToCenter((p_force * cos + f_force * -sin, p_force * sin + f_force * cos), True)

    def _skid(self, wheel):
        """Extend the mark of a skidding wheel, which `render()` shows."""
        mark, grass = wheel.skid_particle, not wheel.tiles
        if mark and mark.grass == grass and len(mark.poly) < 30:
            mark.poly.append((wheel.position[0], wheel.position[1]))
        elif wheel.skid_start is None:
            wheel.skid_start = wheel.position
        else:
            wheel.skid_particle = self.car._create_particle(wheel.skid_start, wheel.position, grass)
            wheel.skid_start = None
