// Dreams by several engines. An engine has memory(z, action, state, begins) -> {state, head} and decode(z) -> pixels.

import { Dream, mixture } from "./dream.js";
import { Controller, floatsIn, Memory, Room, unpack, Vision } from "./models.js";
import { uniformAndNormal } from "./noise.js";

const buffer = async (file) => (await fetch(file)).arrayBuffer();

async function models(game, plainly = false) {
  const files = await Promise.all([game.vision, game.memory].map(({ file }) => buffer(file)));
  const room = await Room.open(await buffer("kernel.wasm"), floatsIn(game.vision) + floatsIn(game.memory) + 4e6);
  if (plainly) room.products = plain;
  const vision = new Vision(room, unpack(room, game.vision, files[0]), game), arrays = unpack(room, game.memory, files[1]);
  return { vision, memory: new Memory(room, arrays, game), controller: new Controller(room, arrays, game, game.agents[0]), arrays };
}

function plain(a, w, out, n, m, length) {
  for (let i = 0; i < n; i++) for (let j = 0; j < m; j++) {
    let sum = 0;
    for (let k = 0; k < length; k++) sum += a[i * length + k] * w[j * length + k];
    out[i * m + j] = sum;
  }
}

function inputs(game, z, action, state, begins) {
  return Float32Array.from([...z, ...action, ...(game.restart ? [begins ? 1 : 0] : []), ...state.h]);
}

const engines = {
  own: (game) => ours(game, false),
  plain: (game) => ours(game, true),

  async ort(game) {
    const ort = await import("./ort.wasm.min.mjs");
    ort.env.wasm.numThreads = 1;
    const [decoder, memory] = await Promise.all(["decoder", "memory"].map((name) =>
      ort.InferenceSession.create(`${game.game}/${name}.onnx`, { executionProviders: ["wasm"] })));
    const row = (values) => new ort.Tensor("float32", Float32Array.from(values), [1, values.length]);
    return {
      async memory(z, action, state, begins) {
        const { h1, c1, told } = await memory.run({ x: row(inputs(game, z, action, state, begins)), c: row(state.c) });
        return { state: { h: h1.data, c: c1.data }, head: told.data };
      },
      decode: async (z) => (await decoder.run({ z: row(z) })).x4.data,
    };
  },

  async tfjs(game) {
    await tf.setBackend("wasm");
    await tf.ready();
    const { vision, memory } = await models(game);
    const size = game.rnn_size, c = game.channels;
    const rows = (array, length) => tf.tensor2d(array, [array.length / length, length]);
    const gates = rows(memory.arrays["gates weight"], memory.x.length), gatesBias = tf.tensor1d(memory.arrays["gates bias"]);
    const head = rows(memory.arrays["head weight"], size), headBias = tf.tensor1d(memory.arrays["head bias"]);
    const dense = rows(vision.arrays["dec_fc kernel"], vision.z.length), denseBias = tf.tensor1d(vision.arrays["dec_fc bias"]);
    const layers = vision.transposed.map(({ name, width, outputs, inputs, next }) => ({
      kernel: tf.tensor4d(vision.arrays[`${name} kernel`], [width, width, outputs, inputs]),
      bias: tf.tensor1d(vision.arrays[`${name} bias`].slice(0, outputs)), shape: [1, next, next, outputs] }));
    const length = memory.x.length;
    return {
      memory(z, action, state, begins) {
        return tf.tidy(() => {
          const x = new Float32Array(length);
          x.set(inputs(game, z, action, state, begins));
          const all = tf.add(tf.matMul(tf.tensor2d(x, [1, length]), gates, false, true), gatesBias);
          const [i, f, g, o] = tf.split(all, 4, 1);
          const next = tf.add(tf.mul(tf.sigmoid(f), tf.tensor2d(state.c, [1, size])), tf.mul(tf.sigmoid(i), tf.tanh(g)));
          const h = tf.mul(tf.sigmoid(o), tf.tanh(next));
          const told = tf.add(tf.matMul(h, head, false, true), headBias);
          return { state: { h: h.dataSync(), c: next.dataSync() }, head: told.dataSync() };
        });
      },
      decode: (z) => tf.tidy(() => {
        const padded = new Float32Array(vision.z.length);
        padded.set(z);
        let x = tf.add(tf.matMul(tf.tensor2d(padded, [1, padded.length]), dense, false, true), denseBias).reshape([1, 1, 1, 32 * c]);
        layers.forEach(({ kernel, bias, shape }, i) => {
          x = tf.add(tf.conv2dTranspose(x, kernel, shape, 2, "valid"), bias);
          x = i < 3 ? tf.relu(x) : tf.sigmoid(x);
        });
        return x.dataSync();
      }),
    };
  },
};

async function ours(game, plainly) {
  const { vision, memory } = await models(game, plainly);
  return { memory: (...values) => memory.step(...values), decode: (z) => vision.decode(z) };
}

let engine, game, controller, dream, seed = 0;

async function step() {
  const action = controller.act(dream.z, dream.state);
  const { state, head } = await engine.memory(dream.z, action, dream.state, dream.steps === 0);
  const { uniform, normal } = uniformAndNormal(dream.seed, dream.steps + 1, game.z_size);
  dream.z = mixture(head, game, dream.temperature).sample(uniform, normal);
  dream.state = state;
  dream.steps += 1;
  await engine.decode(dream.z);
  if (dream.steps === 300) dream.begin(++seed, game.agents[0].temperature);
}

// Make the engine ready, and compute the first frame. Returns the milliseconds that it took.
window.begin = async (name, key) => {
  game = (await (await fetch("games.json")).json())[key];
  const start = performance.now();
  engine = await engines[name](game);
  await engine.decode(new Float32Array(game.z_size));
  const took = performance.now() - start;
  const others = await models(game);
  controller = others.controller;
  dream = new Dream(others.memory, game);
  dream.begin(seed, game.agents[0].temperature);
  return took;
};

// Dream for so many milliseconds: [steps, seconds].
window.run = async (milliseconds) => {
  const start = performance.now();
  let count = 0;
  while (performance.now() - start < milliseconds) {
    await step();
    count += 1;
  }
  return [count, (performance.now() - start) / 1000];
};
