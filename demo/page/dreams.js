// A figure with a dream: C plays, or who sits before it.

import { button, canvas, labelled, make, Models, pace, paint, still, watch } from "./parts.js";

const KEYS = { left: "ArrowLeft", right: "ArrowRight", up: "ArrowUp", down: "ArrowDown" };
const SIGNS = { left: "←", right: "→", up: "↑", down: "↓" };

export class DreamFigure {
  constructor(figure, game, asked) {
    const data = figure.dataset;
    this.figure = figure;
    this.game = game;
    this.agent = game.agents.find((agent) => agent.name === data.agent) ?? game.agents[0];
    this.seed = Number(asked.seed ?? data.seed ?? 0) >>> 0;
    this.temperature = Number(asked.temperature ?? data.temperature ?? this.agent.temperature);
    this.best = 0;
    this.yours = false; // whether the player of this episode is the reader
    this.pressed = new Set();
    this.playing = "autoplay" in data && !still();
    this.build(data.title, Number(data.least), Number(data.most));
    watch(figure, () => this.load());
  }

  build(title, least, most) {
    const { game, figure } = this;
    const keys = Object.keys(game.keys);
    this.screen = canvas(`${title}: the dream, decoded`, {
      class: "screen", tabindex: 0, role: "application",
      "aria-label": `${title}. Arrow keys (${keys.join(", ")}) take over from the agent; space pauses.`,
      onkeydown: (event) => this.key(event, true),
      onkeyup: (event) => this.key(event, false),
      onblur: () => this.pressed.clear(),
      onpointerdown: (event) => this.tap(event, true),
      onpointermove: (event) => event.buttons && this.tap(event, true),
      onpointerup: (event) => this.tap(event, false),
      onpointercancel: (event) => this.tap(event, false),
    });
    this.inside = make("canvas", { class: "inside", width: 480, height: 300, role: "img",
      "aria-label": "What C sees and does: z with M's prediction of it, h, and the action" });
    this.playButton = button("Play", () => this.toggle());
    this.stepButton = button("One step", () => { this.playing = false; this.advance(1); });
    this.agentButton = button("Let the agent play", () => { this.yours = false; this.show(); });
    this.buttons = [this.playButton, this.stepButton, button("Restart", () => this.begin()),
      button("New seed", () => this.begin(Math.floor(Math.random() * 2 ** 32)))];
    this.seedInput = make("input", { type: "number", min: 0, max: 2 ** 32 - 1, step: 1, value: this.seed, disabled: true,
      onchange: () => this.begin(Number(this.seedInput.value)) });
    this.heat = make("input", { type: "range", min: least, max: most, step: 0.05, value: this.temperature, disabled: true,
      oninput: () => { this.temperature = Number(this.heat.value); this.show(); } });
    this.heatShown = make("output");
    this.speed = make("select", { disabled: true },
      ...["0.25", "0.5", "1", "2"].map((speed) => make("option", { value: speed, selected: speed === "1" }, `${speed} x`)));
    this.link = make("a", { href: "" }, "Link to this dream");
    this.pads = keys.map((name) => make("button", { type: "button", class: "pad", disabled: true, "aria-label": `${name}, while held`,
      onpointerdown: (event) => { event.preventDefault(); this.hold(name, true); },
      onpointerup: () => this.hold(name, false), onpointerleave: () => this.hold(name, false),
      onpointercancel: () => this.hold(name, false),
      onkeydown: (event) => [" ", "Enter"].includes(event.key) && !event.repeat && this.hold(name, true),
      onkeyup: () => this.hold(name, false), onblur: () => this.hold(name, false) }, SIGNS[name]));
    this.told = make("p", { class: "told" }, "Not loaded yet.");
    this.ended = make("p", { class: "ended", role: "status" });
    this.progress = make("progress", { max: 1, value: 0, "aria-label": "Loading the weights" });
    const panel = make("div", { class: "panel" }, this.screen,
      make("div", { class: "pads" }, ...this.pads, this.agentButton),
      make("div", { class: "buttons" }, ...this.buttons),
      make("div", { class: "controls" }, labelled("Seed", this.seedInput), labelled("Temperature", this.heat, this.heatShown),
        labelled("Speed", this.speed), this.link),
      this.progress, this.told, this.ended,
      make("details", { ontoggle: () => this.show() }, make("summary", {}, "What C sees and does"), this.inside));
    figure.prepend(panel);
  }

  async load() {
    try {
      this.models = new Models((part) => { this.progress.value = part; });
      await this.models.ask("load", { entry: this.game, dreams: true });
      this.progress.remove();
      for (const control of this.figure.querySelectorAll("[disabled]")) control.disabled = false;
      await this.begin(this.seed);
      this.figure.dataset.ready = "yes";
      pace(this.figure, () => this.game.frames_per_second * Number(this.speed.value),
        () => this.playing && !this.look.over, (count) => this.advance(count));
    } catch (error) {
      this.told.textContent = `This dream cannot be shown: ${error.message}.`;
    }
  }

  async begin(seed = this.seed) {
    this.seed = seed >>> 0;
    this.seedInput.value = this.seed;
    this.ended.textContent = "";
    this.yours = this.pressed.size > 0;
    this.look = await this.models.ask("begin", { seed: this.seed, temperature: this.temperature, agent: this.agent.name });
    this.show();
  }

  // The reader's action, null where C plays.
  action() {
    if (!this.yours) return null;
    const sum = this.game.lowest_action.map(() => 0);
    for (const name of this.pressed) this.game.keys[name].forEach((value, i) => { sum[i] += value; });
    return sum.map((value, i) => Math.min(Math.max(value, this.game.lowest_action[i]), 1));
  }

  async advance(count) {
    if (this.look.over) return;
    this.look = await this.models.ask("step", { count, by: this.action(), temperature: this.temperature });
    if (this.look.over) {
      const best = this.look.steps > this.best ? ", the best so far" : "";
      this.best = Math.max(this.best, this.look.steps);
      const how = this.look.over === "dead" ? "Dead" : "Still alive at the dream's limit,";
      this.ended.textContent = `${how} after ${this.look.steps} steps${best}.`;
      this.playing = false;
    }
    this.show();
  }

  toggle() {
    if (this.look.over) this.begin(this.seed + 1);
    this.playing = !this.playing;
    this.show();
  }

  hold(name, down) {
    if (!this.look || !(name in this.game.keys)) return;
    if (down) {
      this.pressed.add(name);
      this.yours = true;
      if (!this.look.over) this.playing = true;
    } else this.pressed.delete(name);
    this.show();
  }

  key(event, down) {
    const name = Object.keys(this.game.keys).find((key) => KEYS[key] === event.key);
    if (name) {
      event.preventDefault();
      this.hold(name, down);
    } else if (event.key === " ") {
      event.preventDefault();
      if (down && !event.repeat && this.look) this.toggle();
    }
  }

  // A finger or the mouse on the picture: its left and right part, and above and below where the game has such keys.
  tap(event, down) {
    if (!this.look) return;
    for (const name of Object.keys(this.game.keys)) this.pressed.delete(name);
    if (down) {
      this.screen.setPointerCapture(event.pointerId);
      const box = this.screen.getBoundingClientRect();
      const x = (event.clientX - box.left) / box.width, y = (event.clientY - box.top) / box.height;
      if (x < 0.4) this.hold("left", true);
      if (x > 0.6) this.hold("right", true);
      if (y < 0.5) this.hold("up", true);
      if (y > 0.75) this.hold("down", true);
    }
    this.show();
  }

  show() {
    const { look, game } = this;
    this.heatShown.textContent = this.temperature.toFixed(2);
    if (!look) return;
    paint(this.screen, look.picture);
    const moving = this.playing && !look.over;
    this.playButton.textContent = moving ? "Pause" : look.over ? "Next dream" : "Play";
    this.agentButton.hidden = !this.yours;
    const who = this.yours ? "you play" : "the agent plays";
    const death = game.restart ? `; M holds death to be ${(100 * look.death).toFixed(1)}% probable in this step` : "";
    const score = game.reward && !game.restart ? `, score ${look.score.toFixed(0)}` : "";
    const best = this.best ? `; best so far ${this.best}` : "";
    this.told.textContent = `Step ${look.steps}${score}, ${who}${death}${best}.`;
    this.link.href = `#${this.figure.id}&seed=${this.seed}&temperature=${this.temperature}`;
    if (this.inside.parentElement.open) this.draw();
  }

  // z as ticks on the shades of M's prediction; h as shades; the action as bars.
  draw() {
    const { z, h, mixture, action } = this.look, context = this.inside.getContext("2d");
    const { width, height } = this.inside, top = 180, count = z.length, wide = width / count;
    context.fillStyle = "white";
    context.fillRect(0, 0, width, height);
    context.fillStyle = "#595959";
    context.font = "12px system-ui, sans-serif";
    context.fillText("z, and what M predicted", 4, 14);
    context.fillText("h", 4, top + 6);
    context.fillText("action, from -1 to 1", 4, height - 14 * action.length - 8);
    const y = (value) => top / 2 - (value * top) / 10;
    for (let i = 0; i < count; i++) {
      for (let k = 0; mixture && k < mixture.means.length / count; k++) {
        const at = k * count + i, deviation = mixture.deviations[at];
        context.fillStyle = `rgba(40, 90, 200, ${0.6 * mixture.weights[at]})`;
        context.fillRect(i * wide, y(mixture.means[at] + deviation), wide - 1, Math.max(1, (2 * deviation * top) / 10));
      }
      context.fillStyle = "#b03010";
      context.fillRect(i * wide, y(z[i]) - 1, wide - 1, 3);
    }
    const columns = 64, side = width / columns;
    h.forEach((value, i) => {
      context.fillStyle = value > 0 ? `rgba(176, 48, 16, ${value})` : `rgba(40, 90, 200, ${-value})`;
      context.fillRect((i % columns) * side, top + 10 + Math.floor(i / columns) * side, side, side);
    });
    action.forEach((value, i) => {
      context.fillStyle = "#333";
      context.fillRect(width / 2, height - 10 - 14 * (action.length - i - 1) - 6, (value * width) / 2, 8);
    });
  }
}
