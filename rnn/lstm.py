"""The LSTM over whole sequences, with an explicit gradient: on a CPU several times as fast as Keras's loop."""

import tensorflow as tf


def lstm_sequence(cell, inputs, state, keep=None, dtype=tf.float32, drop=None):
    """(hidden (T,B,H), the state after T steps) of a keras LSTMCell over inputs (T,B,I), from `state` (h, c), each (B,H).

    keep: (T,B), factor on h and c before each step, 0 where an episode begins. None: the state is never reset.
    drop: (B,H), factor on h where it is the input of a step's product (dropout). None: 1.
    dtype: that of hidden, and of the matrix products' inputs and outputs. c and all arithmetic between products are float32.

    The values are those of stepping the cell. Only the cell's weights have gradients; `inputs`, `state` and `keep` are
    constants. Two things differ from automatic differentiation. The weights' gradient is one matrix product over all steps, not
    a sum to which each step adds. And the backward pass recomputes each step from its product and its c.
    """
    h, c = (tf.convert_to_tensor(part) for part in state)  # current values, if they are variables
    steps, batch = tf.shape(inputs)[0], tf.shape(inputs)[1]
    keep = tf.ones((steps, batch)) if keep is None else keep
    # The input of a step's product: the step's inputs, a one for the bias, and h. Each step prepares it for the next; that of
    # the last step is not used.
    outside = tf.cast(tf.concat([inputs, tf.ones((steps, batch, 1))], axis=2), dtype)
    outside, keep = tf.concat([outside, outside[:1]], axis=0), tf.concat([keep, tf.ones((1, batch))], axis=0)[:, :, None]

    def keep_h(t):
        return keep[t] if drop is None else keep[t] * drop

    @tf.custom_gradient
    def run(weights):
        def forward(t, seen, c, seens, products, cs, hs):
            product = seen @ weights
            seens, products, cs = seens.write(t, seen), products.write(t, product), cs.write(t, c)
            h, c, seen = _step(product, c, outside[t + 1], keep[t + 1], keep_h(t + 1))
            return t + 1, seen, c, seens, products, cs, hs.write(t, h)

        arrays = [tf.TensorArray(kind, steps, clear_after_read=False) for kind in (dtype, dtype, tf.float32, dtype)]
        start = tf.concat([outside[0], tf.cast(h * keep_h(0), dtype)], axis=1), c * keep[0]
        _, _, last, seens, products, cs, hs = tf.while_loop(lambda t, *_: t < steps, forward, (0, *start, *arrays))

        def gradient(d_hs, d_last):
            recurrent = tf.transpose(weights[-cell.units :])  # once, not in each step's product

            def backward(t, d_h, d_c, d_products):
                kept = keep[t + 1], keep_h(t + 1)
                d_product, d_c = _step_gradient(products.read(t), cs.read(t), *kept, d_hs[t], d_h, d_c)
                return t - 1, d_product @ recurrent, d_c, d_products.write(t, d_product)

            start = steps - 1, tf.zeros_like(d_hs[0]), d_last, tf.TensorArray(dtype, steps)
            *_, d_products = tf.while_loop(lambda t, *_: t >= 0, backward, start)
            flat_seen, flat = (tf.reshape(array.stack(), (-1, array.element_shape[-1])) for array in (seens, d_products))
            return tf.matmul(flat_seen, flat, transpose_a=True)

        return (hs.stack(), last), gradient

    kernel, recurrent, bias = (tf.convert_to_tensor(weight) for weight in (cell.kernel, cell.recurrent_kernel, cell.bias))
    hidden, c = run(tf.cast(tf.concat([kernel, bias[None], recurrent], axis=0), dtype))
    return hidden, (tf.cast(hidden[-1], tf.float32), c)


def _cell(product, c):
    """(h, c), each (B,H), after a step, from its product (B,4H) and the c (B,H) before it."""
    i, f, g, o = tf.split(tf.cast(product, tf.float32), 4, axis=1)  # Keras's order
    c = tf.sigmoid(f) * c + tf.sigmoid(i) * tf.tanh(g)
    return tf.sigmoid(o) * tf.tanh(c), c


# XLA fuses the arithmetic of a step into few passes. The matrix products stay outside: XLA's are slower, and use one core.
@tf.function(jit_compile=True, autograph=False)
def _step(product, c, outside, keep, keep_h):
    """(h of this step, c and the product's input of the next step). `outside` and both factors are those of the next step."""
    h, c = _cell(product, c)
    return tf.cast(h, product.dtype), c * keep, tf.concat([outside, tf.cast(h * keep_h, product.dtype)], axis=1)


@tf.function(jit_compile=True, autograph=False)
def _step_gradient(product, c, keep, keep_h, d_out, d_h, d_c):
    """Gradients of (product, c), from those of h (`d_out`) and of the h and c that go into the next step (`d_h`, `d_c`)."""
    with tf.GradientTape() as tape:
        tape.watch([product, c])
        state = _cell(product, c)
    d_state = tf.cast(d_out, tf.float32) + tf.cast(d_h, tf.float32) * keep_h, d_c * keep
    return tape.gradient(state, [product, c], output_gradients=d_state)
