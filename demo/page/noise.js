// Noise in dreams, as in dream/noise.py: a number depends only on (seed, step, dimension), so a seed's dream is Python's.

const ROTATIONS = [[13, 15, 26, 6], [17, 29, 16, 24]];

// Two random uint32 by Threefry-2x32 with 20 rounds, for the key (seed, 0) and the counter (step, dimension).
export function threefry(seed, step, dimension) {
  const keys = [seed, 0, (seed ^ 0x1bd11bda) >>> 0];
  let x = (step + keys[0]) >>> 0, y = (dimension + keys[1]) >>> 0;
  for (let block = 0; block < 5; block++) {
    for (const bits of ROTATIONS[block % 2]) {
      x = (x + y) >>> 0;
      y = (((y << bits) | (y >>> (32 - bits))) ^ x) >>> 0;
    }
    x = (x + keys[(block + 1) % 3]) >>> 0;
    y = (y + keys[(block + 2) % 3] + block + 1) >>> 0;
  }
  return [x, y];
}

const open01 = (bits) => Math.min(Math.fround((bits >>> 8) + 0.5), 2 ** 24 - 1) * 2 ** -24;

// {uniform, normal}: `size` numbers each, uniform in (0, 1) and standard normal.
export function uniformAndNormal(seed, step, size) {
  const uniform = new Float64Array(size), normal = new Float64Array(size);
  for (let i = 0; i < size; i++) {
    const [x, y] = threefry(seed, step, i);
    uniform[i] = open01(x);
    normal[i] = quantile(open01(y));
  }
  return { uniform, normal };
}

const ratio = (x, above, below) => above.reduce((sum, c) => sum * x + c, 0) / below.reduce((sum, c) => sum * x + c, 0);

// The quantile of the standard normal distribution: Wichura (1988), algorithm AS 241, PPND16. Relative error 1e-16.
export function quantile(p) {
  const q = p - 0.5;
  if (Math.abs(q) <= 0.425) {
    return q * ratio(0.180625 - q * q, [
      2.5090809287301226727e3, 3.3430575583588128105e4, 6.7265770927008700853e4, 4.5921953931549871457e4,
      1.3731693765509461125e4, 1.9715909503065514427e3, 1.3314166789178437745e2, 3.387132872796366608,
    ], [
      5.226495278852545925e3, 2.8729085735721942674e4, 3.9307895800092710610e4, 2.1213794301586595867e4,
      5.3941960214247511077e3, 6.8718700749205790830e2, 4.2313330701600911252e1, 1,
    ]);
  }
  const r = Math.sqrt(-Math.log(Math.min(p, 1 - p)));
  const tail = r <= 5 ? ratio(r - 1.6, [
    7.7454501427834140764e-4, 2.27238449892691845833e-2, 2.4178072517745061177e-1, 1.27045825245236838258,
    3.64784832476320460504, 5.7694972214606914055, 4.6303378461565452959, 1.42343711074968357734,
  ], [
    1.05075007164441684324e-9, 5.475938084995344946e-4, 1.51986665636164571966e-2, 1.4810397642748007459e-1,
    6.8976733498510000455e-1, 1.6763848301838038494, 2.05319162663775882187, 1,
  ]) : ratio(r - 5, [
    2.01033439929228813265e-7, 2.71155556874348757815e-5, 1.2426609473880784386e-3, 2.6532189526576123093e-2,
    2.9656057182850489123e-1, 1.7848265399172913358, 5.4637849111641143699, 6.6579046435011037772,
  ], [
    2.04426310338993978564e-15, 1.4215117583164458887e-7, 1.8463183175100546818e-5, 7.868691311456132591e-4,
    1.48753612908506148525e-2, 1.3692988092273580531e-1, 5.9983220655588793769e-1, 1,
  ]);
  return Math.sign(q) * tail;
}
