"""What limits Doom's agent: its dream, or V and M?   python -m bench.ceiling [--run-dir pretrained/doom]

A player who is told where the fireballs are, and looks ahead, shows how long one can survive. A controller of C's size then
learns to do what that player does, from z and M's state alone: by ridge regression, first of games that the told player plays,
then also of games that the controller plays while the told player says what it would do. If this controller lives much longer
than one that learned in the dream, the dream is the limit. If it does not, V and M are.

This is a diagnosis. Its controllers have learned from what no agent is told.
"""

import argparse

import numpy as np

from world_models.config import scaled
from world_models.controller.report import bootstrap_interval
from world_models.job.command import run_script
from world_models.job.machine import fast_precision, load_tensorflow
from world_models.job.rundir import pretrained
from world_models.job.seeds import RECORD, VALIDATION, episode_seeds

GAMES_AT_ONCE = 16
AHEAD = 45  # steps that the told player looks ahead: a fireball comes within 48
THRUST, FRICTION = 0.68, 0.90625  # of the player's speed, in units a step
WALLS, HALF_WIDTH, FIREBALL = (16, 752), 16, 6
MARGIN = 8  # units that a fireball should miss by
# Go one way for some steps, then another, or stand.
PLANS = np.array([[a] * k + [b] * (AHEAD - k) for a in (-1, 0, 1) for k in (0, 6, 14) for b in (-1, 0, 1)])
RIDGE = 1e-3  # of the mean squared feature


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run-dir", default=pretrained("doom"), help="whose V, M and C (default: the pretrained agent's)")
    parser.add_argument("--learning", type=int, default=48, help="games to learn from in each round (default: 48)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds: the told player's games, then the clone's (default: 3)")
    parser.add_argument("--episodes", type=int, default=96, help="validation games for each score (default: 96)")
    args = parser.parse_args(argv)
    load_tensorflow(1)
    from world_models.controller.agent import load_controller

    game = scaled("doom")
    mode, evolved = load_controller(args.run_dir, game)
    players = Players(args.run_dir, game, mode)
    test = episode_seeds(args.episodes, 0, VALIDATION)
    _tell("told where the fireballs are", players.play(test[: max(args.episodes // 4, 1)], told=True)[0])
    _tell("the run's C", players.play(test, evolved)[0])
    clone, seen, wished = None, [], []
    for number in range(args.rounds):
        seeds = episode_seeds(args.learning, number, RECORD)
        _, features, actions = players.play(seeds, clone, told=clone is None, learn=True)
        seen.append(features)
        wished.append(actions)
        clone = ridge(np.concatenate(seen), np.concatenate(wished))
        _tell(f"clone, {sum(map(len, wished)):,} frames of {number + 1} rounds", players.play(test, clone)[0])


def ridge(features, actions):
    """The controller (F,) without bias whose output is closest to actions (N,), of features (N,F)."""
    square = features.T @ features
    return np.linalg.solve(square + RIDGE * np.trace(square) / len(square) * np.eye(len(square)), features.T @ actions)


def told_action(state):
    """What the told player does: -1 is left, 1 right. state: ViZDoom's, with the objects of the whole room."""
    me = next(thing for thing in state.objects if thing.name == "DoomPlayer")
    y, speed, path = np.full(len(PLANS), me.position_y), np.full(len(PLANS), me.velocity_y), []
    for move in PLANS.T:
        speed = speed * FRICTION - THRUST * move  # right lowers y
        y = np.clip(y + speed, *WALLS)
        path.append(y)
    path, steps = np.array(path), np.arange(1, AHEAD + 1)  # (AHEAD, plans)
    hit, near = np.full(len(PLANS), AHEAD), np.zeros(len(PLANS))
    for ball in state.objects:
        if ball.name != "DoomImpBall" or not ball.velocity_x:
            continue
        distance = np.abs(ball.position_x + ball.velocity_x * steps - me.position_x)
        close = distance < HALF_WIDTH + FIREBALL + abs(ball.velocity_x)
        gap = np.abs((ball.position_y + ball.velocity_y * steps)[:, None] - path)
        hits = close[:, None] & (gap < HALF_WIDTH + FIREBALL + MARGIN)
        hit = np.minimum(hit, np.where(hits.any(axis=0), hits.argmax(axis=0), AHEAD))
        if close.any():
            near = np.maximum(near, 1 / (1 + gap[close].min(axis=0)))
    centre = np.abs(path[-1] - np.mean(WALLS))
    return int(PLANS[np.argmax(hit - 5 * near - 0.002 * centre), 0])


class Players:
    """Plays games with a run's V and M, for which ViZDoom also tells where everything is."""

    def __init__(self, run_dir, game, mode):
        from world_models.controller.rollout import open_world
        from world_models.env import doom

        plain = doom._new_game

        def with_objects():
            new = plain()
            new.set_objects_info_enabled(True)
            return new

        doom._new_game = with_objects
        self.world = open_world("real", run_dir, game, GAMES_AT_ONCE, mode, precision=fast_precision())
        self.max_steps = game.max_steps

    def play(self, seeds, params=None, told=False, learn=False):
        """(steps survived (N,), features (T,F), actions (T,)) of games with these seeds.

        told: the told player plays, not the controller `params`. learn: return C's inputs in each step and what the told
        player would do; else the last two are empty.
        """
        params = np.zeros(self.world.controller.num_params) if params is None else params
        survived, features, actions = [], [np.zeros((0, len(params)))], [np.zeros(0)]
        for i in range(0, len(seeds), GAMES_AT_ONCE):
            some = seeds[i : i + GAMES_AT_ONCE]
            watch = _Watch(self.world, told, learn)
            how = {"force": watch.force, "watch": watch.watch} if told or learn else {}
            survived.append(self.world.rollout(params, some, self.max_steps, **how)[1])
            features += watch.features
            actions += watch.actions
        return np.concatenate(survived), np.concatenate(features), np.concatenate(actions)


class _Watch:
    """Asks the told player in each step of a batch, and keeps C's inputs. Each game has a row of its own."""

    def __init__(self, world, told, learn):
        self.world, self.told, self.learn = world, told, learn
        rows = world.at_once * world.episodes
        self.state, self.wish = world.agent.initial_state(rows), np.zeros(rows)
        self.features, self.actions, self.begins = [], [], np.ones(rows, np.float32)

    def force(self, row, t):
        self.wish[row] = told_action(self.world.worlds[row]._game.get_state())
        return self.wish[row] if self.told else np.nan

    def watch(self, episode, frames, z, actions, rewards, dones):
        if not self.learn:
            return
        playing = episode >= 0
        self.features.append(self.world.controller.features(z, self.state).numpy()[playing])
        self.actions.append(self.wish[playing])
        self.state = self.world.agent.rnn.advance(z, actions, self.state, self.begins)
        self.begins[:] = 0


def _tell(who, survived):
    low, high = bootstrap_interval(survived)
    print(
        f"{who:45} {survived.mean():7.1f} ± {survived.std():.1f} ({low:.1f} to {high:.1f}; {len(survived)} games)", flush=True
    )


if __name__ == "__main__":
    run_script(main)
