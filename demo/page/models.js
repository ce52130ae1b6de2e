// V, M and C, on the one operation of kernel.wasm. What they compute is in vae/vae.py, rnn/rnn.py and controller/controller.py.

// The memory of a kernel: room for float32 arrays, given out once and never given back.
export class Room {
  static async open(wasm, floats) {
    const memory = new WebAssembly.Memory({ initial: Math.ceil((floats * 4) / 65536) + 1 });
    const { instance } = await WebAssembly.instantiate(wasm, { page: { memory } });
    return new Room(memory, instance.exports.products);
  }

  constructor(memory, products) {
    this.memory = memory;
    this.call = products;
    this.used = 0;
  }

  take(count) {
    const array = new Float32Array(this.memory.buffer, this.used, count);
    this.used += Math.ceil(count / 4) * 16;
    return array;
  }

  // out[i, j] = the product of row i of a and row j of w, both of `length` numbers. a has n rows, w has m.
  products(a, w, out, n, m, length) {
    this.call(a.byteOffset, w.byteOffset, out.byteOffset, n, m, length);
  }
}

const up4 = (count) => Math.ceil(count / 4) * 4;
const numbers = (place) => place.shape.reduce((product, size) => product * size, 1);

// How many floats the arrays of a file take in a Room.
export const floatsIn = (file) => Object.values(file.arrays).reduce((sum, place) => sum + up4(numbers(place)), 0);

// {name: Float32Array in `room`} of a file that demo/export.py wrote. file: its entry in games.json.
export function unpack(room, file, buffer) {
  const arrays = {};
  for (const [name, place] of Object.entries(file.arrays)) {
    const count = numbers(place), array = room.take(count);
    if (place.kind === "float32") array.set(new Float32Array(buffer, place.offset, count));
    else if (place.kind === "float16") halves(new Uint16Array(buffer, place.offset, count), array);
    else scaled(buffer, place, array);
    arrays[name] = array;
  }
  return arrays;
}

function halves(bits, array) {
  const table = new Float32Array(65536);
  for (let i = 0; i < 65536; i++) {
    const sign = i >> 15 ? -1 : 1, exponent = (i >> 10) & 31, part = i & 1023;
    if (exponent === 0) table[i] = sign * part * 2 ** -24;
    else table[i] = exponent === 31 ? NaN : sign * (1024 + part) * 2 ** (exponent - 25);
  }
  for (let i = 0; i < bits.length; i++) array[i] = table[bits[i]];
}

function scaled(buffer, place, array) {
  const [rows, length] = place.shape;
  const factors = new Float32Array(buffer, place.offset, rows);
  const values = new Int8Array(buffer, place.offset + 4 * rows, rows * length);
  for (let i = 0, at = 0; i < rows; i++) for (let j = 0; j < length; j++, at++) array[at] = values[at] * factors[i];
}

const relu = (x) => { for (let i = 0; i < x.length; i++) if (x[i] < 0) x[i] = 0; };
const sigmoid = (x) => 1 / (1 + Math.exp(-x));

function addBias(x, bias, count) {
  for (let i = 0; i < x.length; i += count) for (let j = 0; j < count; j++) x[i + j] += bias[j];
}

// V. encode(pixels) -> {mu, logvar}; decode(z) -> pixels. Pixels are 64 x 64 x 3 numbers in [0, 1], row after row.
export class Vision {
  constructor(room, arrays, game) {
    this.room = room;
    this.arrays = arrays;
    this.z_size = game.z_size;
    const c = game.channels;
    this.convolutions = [];
    for (let i = 0, size = 64, inputs = 3; i < 4; i++) {
      const next = Math.floor((size - 4) / 2) + 1, outputs = c << i;
      this.convolutions.push({
        name: `enc_conv${i + 1}`, size, inputs, next, outputs,
        patches: room.take(next * next * 16 * inputs), out: room.take(next * next * outputs),
      });
      [size, inputs] = [next, outputs];
    }
    this.mu = room.take(up4(game.z_size));
    this.logvar = room.take(up4(game.z_size));
    this.z = room.take(up4(game.z_size));
    this.dense = room.take(32 * c);
    this.transposed = [];
    for (const [i, [outputs, width]] of [[4 * c, 5], [2 * c, 5], [c, 6], [3, 6]].entries()) {
      const { next: size, outputs: inputs } = this.transposed[i - 1] ?? { next: 1, outputs: 32 * c };
      const next = (size - 1) * 2 + width;
      this.transposed.push({
        name: `dec_deconv${i + 1}`, size, inputs, width, outputs, next,
        shares: room.take(size * size * up4(width * width * outputs)), out: room.take(up4(next * next * outputs)),
      });
    }
  }

  // An upper bound of the floats that a Vision takes in a Room besides its weights.
  static floats = (channels) => 64 * 64 * 3 * 40 + channels * 30_000;

  encode(pixels) {
    let x = pixels;
    for (const layer of this.convolutions) {
      const { size, inputs, next, outputs, patches, out, name } = layer;
      const row = 4 * inputs;
      for (let i = 0, at = 0; i < next; i++) for (let j = 0; j < next; j++) for (let k = 0; k < 4; k++, at += row) {
        const from = ((2 * i + k) * size + 2 * j) * inputs;
        patches.set(x.subarray(from, from + row), at);
      }
      this.room.products(patches, this.arrays[`${name} kernel`], out, next * next, outputs, 16 * inputs);
      addBias(out, this.arrays[`${name} bias`], outputs);
      relu(out);
      x = out;
    }
    for (const name of ["mu", "logvar"]) {
      this.room.products(x, this.arrays[name === "mu" ? "enc_fc_mu kernel" : "enc_fc_log_var kernel"], this[name], 1,
        up4(this.z_size), x.length);
      addBias(this[name], this.arrays[name === "mu" ? "enc_fc_mu bias" : "enc_fc_log_var bias"], this[name].length);
    }
    return { mu: this.mu.slice(0, this.z_size), logvar: this.logvar.slice(0, this.z_size) };
  }

  decode(z) {
    this.z.set(z);
    this.room.products(this.z, this.arrays["dec_fc kernel"], this.dense, 1, this.dense.length, this.z.length);
    addBias(this.dense, this.arrays["dec_fc bias"], this.dense.length);
    let x = this.dense;
    for (const layer of this.transposed) {
      const { size, inputs, width, outputs, next, shares, out, name } = layer;
      const length = up4(width * width * outputs), bias = this.arrays[`${name} bias`], row = width * outputs;
      this.room.products(x, this.arrays[`${name} kernel`], shares, size * size, length, inputs);
      for (let i = 0; i < next * next; i++) for (let c = 0; c < outputs; c++) out[i * outputs + c] = bias[c];
      for (let i = 0; i < size; i++) for (let j = 0; j < size; j++) for (let k = 0; k < width; k++) {
        const from = (i * size + j) * length + k * row, to = ((2 * i + k) * next + 2 * j) * outputs;
        for (let l = 0; l < row; l++) out[to + l] += shares[from + l];
      }
      if (layer !== this.transposed[3]) relu(out);
      x = out;
    }
    return x.subarray(0, 64 * 64 * 3).map(sigmoid);
  }
}

// M. step(z, action, state, begins) -> {state: {h, c}, head}; the head is in the order of rnn/head.py, Head.planes.
export class Memory {
  constructor(room, arrays, game) {
    this.room = room;
    this.arrays = arrays;
    this.game = game;
    this.inputs = game.z_size + game.action_maps.length + (game.restart ? 1 : 0);
    this.x = room.take(up4(this.inputs + game.rnn_size));
    this.gates = room.take(4 * game.rnn_size);
    this.hidden = room.take(game.rnn_size);
    this.head = room.take(arrays["head bias"].length);
  }

  static floats = (game) => 8 * game.rnn_size + 2 * game.z_size + 64 + 4 * game.z_size * game.num_mixture;

  zeros() {
    return { h: new Float32Array(this.game.rnn_size), c: new Float32Array(this.game.rnn_size) };
  }

  step(z, action, state, begins) {
    const { x, gates, hidden, head, arrays, inputs } = this, size = this.game.rnn_size;
    x.set(z);
    x.set(action, z.length);
    if (this.game.restart) x[inputs - 1] = begins ? 1 : 0;
    x.set(state.h, inputs);
    this.room.products(x, arrays["gates weight"], gates, 1, gates.length, x.length);
    addBias(gates, arrays["gates bias"], gates.length);
    const h = new Float32Array(size), c = new Float32Array(size);
    for (let i = 0; i < size; i++) { // Keras's order: input, forget, new, output
      const fresh = sigmoid(gates[i]) * Math.tanh(gates[2 * size + i]);
      c[i] = sigmoid(gates[size + i]) * state.c[i] + fresh;
      h[i] = sigmoid(gates[3 * size + i]) * Math.tanh(c[i]);
    }
    hidden.set(h);
    this.room.products(hidden, arrays["head weight"], head, 1, head.length, size);
    addBias(head, arrays["head bias"], head.length);
    return { state: { h, c }, head };
  }
}

const MAPS = { signed: (a) => a, halved: (a) => (a + 1) / 2, clipped: (a) => Math.min(Math.max(a, 0), 1) };

// C: one of the game's agents. act(z, state) -> action.
export class Controller {
  constructor(room, arrays, game, agent) {
    this.room = room;
    this.game = game;
    this.mode = agent.mode;
    this.layers = [];
    for (let i = 0; i < agent.layers; i++) {
      const bias = arrays[`${agent.name} ${i} bias`], weight = arrays[`${agent.name} ${i} weight`];
      this.layers.push({ bias, weight, x: room.take(weight.length / bias.length), out: room.take(bias.length) });
    }
  }

  static floats = (game) => 4 * game.rnn_size + 4 * game.z_size + 512;

  act(z, state) {
    let x = { zh: [z, state.h], zch: [z, state.c, state.h] }[this.mode] ?? [z];
    for (const layer of this.layers) {
      let at = 0;
      for (const part of x) { layer.x.set(part, at); at += part.length; }
      this.room.products(layer.x, layer.weight, layer.out, 1, layer.bias.length, layer.x.length);
      for (let i = 0; i < layer.out.length; i++) layer.out[i] = Math.tanh(layer.out[i] + layer.bias[i]);
      x = [layer.out];
    }
    return Array.from(this.game.action_maps, (map, i) => MAPS[map](x[0][i]));
  }
}
