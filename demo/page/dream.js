// M as a simulator, as in dream/dream.py and dream/kernel.py.

import { uniformAndNormal } from "./noise.js";

export class Dream {
  constructor(memory, game) {
    this.memory = memory;
    this.game = game;
  }

  begin(seed, temperature) {
    const { game, memory } = this, size = game.z_size;
    Object.assign(this, { seed: seed >>> 0, temperature, steps: 0, score: 0, over: false, death: 0, mixture: null });
    const { uniform, normal } = uniformAndNormal(this.seed, 0, size);
    const which = Math.min(Math.floor(uniform[0] * game.beginnings), game.beginnings - 1) * size;
    const mu = memory.arrays["initial mu"], logvar = memory.arrays["initial logvar"];
    this.z = Float32Array.from({ length: size }, (_, i) => mu[which + i] + Math.exp(logvar[which + i] / 2) * normal[i]);
    this.state = memory.zeros();
  }

  // One step with `action`. A dream ends where M holds death to be more likely than not, or at the game's limit.
  step(action) {
    const { game, memory } = this;
    const { state, head } = memory.step(this.z, action, this.state, this.steps === 0);
    const { uniform, normal } = uniformAndNormal(this.seed, this.steps + 1, game.z_size);
    this.mixture = mixture(head, game, this.temperature);
    this.z = this.mixture.sample(uniform, normal);
    this.state = state;
    const others = {};
    let at = 3 * game.num_mixture * game.z_size;
    for (const [name, count] of game.outputs) {
      others[name] = head[at];
      at += count;
    }
    this.steps += 1;
    this.score += game.reward * ("reward" in others ? others.reward : 1);
    const logit = others.restart ?? -Infinity;
    this.death = 1 / (1 + Math.exp(game.log_odds - logit)); // M's own probability: training raised the logit by log_odds
    this.over = logit > 0 ? "dead" : this.steps >= game.max_steps ? "time" : false;
  }
}

// M's mixture of Gaussians for each dimension of the next z, at `temperature`.
export function mixture(head, game, temperature) {
  const size = game.z_size, count = game.num_mixture, deviation = Math.sqrt(temperature);
  const weights = new Float64Array(count * size), means = head.slice(count * size, 2 * count * size);
  const deviations = head.slice(2 * count * size, 3 * count * size).map((log) => Math.exp(log) * deviation);
  for (let i = 0; i < size; i++) {
    let greatest = -Infinity, sum = 0;
    for (let k = 0; k < count; k++) greatest = Math.max(greatest, head[k * size + i]);
    for (let k = 0; k < count; k++) sum += weights[k * size + i] = Math.exp((head[k * size + i] - greatest) / temperature);
    for (let k = 0; k < count; k++) weights[k * size + i] /= sum;
  }
  const sample = (uniform, normal) => {
    const z = new Float32Array(size);
    for (let i = 0; i < size; i++) {
      let k = 0, below = weights[i];
      while (k < count - 1 && uniform[i] > below) below += weights[++k * size + i];
      z[i] = means[k * size + i] + deviations[k * size + i] * normal[i];
    }
    return z;
  };
  return { weights, means, deviations, sample };
}
