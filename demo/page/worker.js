// One figure's V, M and C, in a thread of their own, so that no dream slows another one or the page.

import { Dream } from "./dream.js";
import { Controller, floatsIn, Memory, Room, unpack, Vision } from "./models.js";

let game, vision, memory, dream, controllers, controller, action = [];

const does = {
  // Fetch the weights: those of V alone for figures without a dream.
  async load({ entry, dreams }) {
    game = entry;
    const files = dreams ? [game.vision, game.memory] : [game.vision];
    const total = files.reduce((sum, file) => sum + file.bytes, 0);
    let before = 0;
    const buffers = [];
    for (const file of files) {
      buffers.push(await fetched(file.file, file.bytes, (bytes) => postMessage({ progress: (before + bytes) / total })));
      before += file.bytes;
    }
    const wasm = await (await fetch("kernel.wasm")).arrayBuffer();
    const work = Vision.floats(game.channels) + Memory.floats(game) + Controller.floats(game) * game.agents.length;
    const room = await Room.open(wasm, work + files.reduce((sum, file) => sum + floatsIn(file), 0));
    vision = new Vision(room, unpack(room, game.vision, buffers[0]), game);
    if (!dreams) return {};
    const arrays = unpack(room, game.memory, buffers[1]);
    memory = new Memory(room, arrays, game);
    dream = new Dream(memory, game);
    controllers = new Map(game.agents.map((agent) => [agent.name, new Controller(room, arrays, game, agent)]));
    return {};
  },

  begin({ seed, temperature, agent }) {
    controller = controllers.get(agent) ?? controllers.values().next().value;
    dream.begin(seed, temperature);
    action = controller.act(dream.z, dream.state);
    return looked();
  },

  // `count` steps, by C or with the action `by`.
  step({ count, by, temperature }) {
    dream.temperature = temperature;
    for (let i = 0; i < count && !dream.over; i++) {
      action = by ?? controller.act(dream.z, dream.state);
      dream.step(action);
    }
    return looked();
  },

  decode: ({ z }) => ({ picture: painted(vision.decode(z)) }),

  // picture: RGBA bytes of 64 x 64 pixels.
  encode({ picture }) {
    const pixels = new Float32Array(64 * 64 * 3);
    for (let i = 0; i < 64 * 64; i++) for (let c = 0; c < 3; c++) pixels[3 * i + c] = picture[4 * i + c] / 255;
    const { mu, logvar } = vision.encode(pixels);
    return { mu, logvar, picture: painted(vision.decode(mu)) };
  },
};

onmessage = async ({ data }) => {
  try {
    postMessage({ id: data.id, ...(await does[data.do](data)) });
  } catch (error) {
    postMessage({ id: data.id, error: String(error.message ?? error) });
  }
};

async function fetched(file, bytes, tell) {
  const response = await fetch(file);
  if (!response.ok) throw new Error(`${file} could not be loaded (${response.status})`);
  const whole = new Uint8Array(bytes), reader = response.body.getReader();
  for (let at = 0; ; ) {
    const { done, value } = await reader.read();
    if (done) {
      if (at !== bytes) throw new Error(`${file} ended too early`);
      return whole.buffer;
    }
    whole.set(value, at);
    tell((at += value.length));
  }
}

// RGBA bytes of V's pixels.
function painted(pixels) {
  const picture = new Uint8ClampedArray(64 * 64 * 4);
  for (let i = 0; i < 64 * 64; i++) {
    for (let c = 0; c < 3; c++) picture[4 * i + c] = 255 * pixels[3 * i + c];
    picture[4 * i + 3] = 255;
  }
  return picture;
}

function looked() {
  const { z, state, steps, score, over, death } = dream;
  const { weights, means, deviations } = dream.mixture ?? {};
  const mixture = dream.mixture && { weights, means, deviations };
  return { picture: painted(vision.decode(z)), z, h: state.h, action: Array.from(action), mixture, steps, score, over, death };
}
