// Figures with V alone: a frame and its reconstruction with all of z as sliders, and a film of a real episode.

import { button, canvas, make, Models, pace, paint, recorded, still, watch } from "./parts.js";

class VisionFigure {
  constructor(figure, game) {
    this.figure = figure;
    this.game = game;
    this.seen = canvas(`${figure.dataset.title}: what the game shows`, { class: "screen" });
    this.made = canvas(`${figure.dataset.title}: what V makes of it`, { class: "screen" });
    this.progress = make("progress", { max: 1, value: 0, "aria-label": "Loading the weights" });
    this.told = make("p", { class: "told" });
    const shown = (picture, text) => make("div", {}, picture, make("p", { class: "under" }, text));
    this.panel = make("div", { class: "panel" },
      make("div", { class: "pair" }, shown(this.seen, "The game"), shown(this.made, "V's reconstruction")), this.progress, this.told);
    figure.prepend(this.panel);
    this.build();
    watch(figure, () => this.load());
  }

  async load() {
    try {
      this.models = new Models((part) => { this.progress.value = part; });
      [this.frames] = await Promise.all([recorded(this.game.frames), this.models.ask("load", { entry: this.game, dreams: false })]);
      this.progress.remove();
      for (const control of this.figure.querySelectorAll("[disabled]")) control.disabled = false;
      await this.begin();
      this.figure.dataset.ready = "yes";
    } catch (error) {
      this.told.textContent = `V cannot be shown: ${error.message}.`;
    }
  }

  async show(picture) {
    paint(this.seen, new Uint8ClampedArray(picture));
    const answer = await this.models.ask("encode", { picture });
    paint(this.made, answer.picture);
    return answer;
  }
}

export class SliderFigure extends VisionFigure {
  build() {
    this.file = make("input", { type: "file", accept: "image/*", hidden: true, "aria-label": "A picture of your own", tabindex: -1,
      onchange: () => this.file.files[0] && this.own(this.file.files[0]) });
    this.sliders = Array.from({ length: this.game.z_size }, (_, i) => make("input", {
      type: "range", min: -4, max: 4, step: 0.05, value: 0, disabled: true, "aria-label": `z ${i + 1}`, oninput: () => this.decode() }));
    this.panel.append(
      make("div", { class: "buttons" }, button("Another frame", () => this.begin()), button("Your own picture", () => this.file.click()),
        button("Random z", () => this.random()), this.file),
      make("div", { class: "sliders", role: "group", "aria-label": "The numbers of z" }, ...this.sliders));
  }

  async begin() {
    this.code(await this.show(this.frames[Math.floor(Math.random() * this.frames.length)]));
    this.told.textContent = "Move a slider: V's decoder draws what the changed z means.";
  }

  async own(file) {
    try {
      const image = await createImageBitmap(file), side = Math.min(image.width, image.height);
      const small = make("canvas", { width: 64, height: 64 }), context = small.getContext("2d");
      context.imageSmoothingQuality = "high";
      context.drawImage(image, (image.width - side) / 2, (image.height - side) / 2, side, side, 0, 0, 64, 64);
      this.code(await this.show(context.getImageData(0, 0, 64, 64).data));
      this.told.textContent = "V has seen nothing but the game, and makes a game of your picture.";
    } catch {
      this.told.textContent = "This file cannot be read as a picture: choose another.";
    }
  }

  random() {
    for (const slider of this.sliders) {
      const normal = Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());
      slider.value = normal;
    }
    this.seen.getContext("2d").clearRect(0, 0, 64, 64);
    this.told.textContent = "z of 32 or 64 random numbers, a frame that no game has shown.";
    return this.decode();
  }

  code({ mu }) {
    this.sliders.forEach((slider, i) => { slider.value = mu[i]; });
  }

  // While one picture is computed, only the latest wish waits.
  async decode() {
    this.wish = true;
    if (this.decoding) return;
    this.decoding = true;
    while (this.wish) {
      this.wish = false;
      const { picture } = await this.models.ask("decode", { z: this.sliders.map((slider) => Number(slider.value)) });
      paint(this.made, picture);
    }
    this.decoding = false;
  }
}

export class FilmFigure extends VisionFigure {
  build() {
    this.playing = false;
    this.playButton = button("Play", () => { this.playing = !this.playing; this.tell(); });
    this.panel.append(make("div", { class: "buttons" }, this.playButton,
      button("One step", () => { this.playing = false; this.advance(1); }), button("Restart", () => this.begin())));
  }

  async begin() {
    this.at = -1;
    await this.advance(1);
    if (this.paced) return;
    this.paced = true;
    const { every } = this.game.frames;
    this.playing = "autoplay" in this.figure.dataset && !still();
    pace(this.figure, () => this.game.frames_per_second / every, () => this.playing, (count) => this.advance(count));
  }

  async advance(count) {
    this.at = (this.at + count) % this.frames.length;
    await this.show(this.frames[this.at]);
    this.tell();
  }

  tell() {
    this.playButton.textContent = this.playing ? "Pause" : "Play";
    this.told.textContent = `Step ${this.at * this.game.frames.every} of an episode that nothing was trained on.`;
  }
}
