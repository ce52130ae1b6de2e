"""The LSTM over whole sequences, with its gradient written out: on a CPU several times faster than Keras's loop."""

import tensorflow as tf


def lstm_sequence(cell, inputs, state, keep=None):
    """(hidden (B,T,H), the state after T steps) of a keras LSTMCell over inputs (B,T,I), from `state` (h, c), each (B,H).

    keep (B,T): factor on h and c before each step; 0 where an episode begins. None: the state is never touched.

    The values are those of stepping through the cell. The gradient, of the cell's weights alone, treats `inputs`, `state` and
    `keep` as constants. It differs from automatic differentiation in that the weights' gradients are one matrix product over
    all steps instead of a sum that each step adds to, which is most of the time with small batches.
    """
    if keep is not None:
        keep = tf.transpose(keep)[:, :, None]  # (T,B,1)

    @tf.custom_gradient
    def run(kernel, recurrent, bias):
        steps = tf.shape(inputs)[1]
        x = tf.transpose(inputs, (1, 0, 2))  # (T,B,I)
        flat = tf.reshape(x, (-1, inputs.shape[-1]))
        driven = tf.reshape(flat @ kernel + bias, (steps, -1, 4 * cell.units))  # what the inputs add to the gates

        def kept(t, value):
            return value if keep is None else value * keep[t]

        def forward(t, h, c, hs, cs, gates):
            h, c = kept(t, h), kept(t, c)
            z = driven[t] + h @ recurrent
            i, f, g, o = tf.split(z, 4, axis=1)  # Keras's order
            i, f, g, o = tf.sigmoid(i), tf.sigmoid(f), tf.tanh(g), tf.sigmoid(o)
            cs, gates = cs.write(t, c), gates.write(t, tf.concat([i, f, g, o], axis=1))
            c = f * c + i * g
            h = o * tf.tanh(c)
            return t + 1, h, c, hs.write(t, h), cs, gates

        arrays = [tf.TensorArray(tf.float32, steps) for _ in range(3)]
        _, h, c, *arrays = tf.while_loop(lambda t, *_: t < steps, forward, (0, *state, *arrays))
        hs, cs, gates = (array.stack() for array in arrays)  # (T,B,...): h after each step, c before it, the gates in it

        def gradient(d_hidden, d_h, d_c):
            d_hidden = tf.transpose(d_hidden, (1, 0, 2))
            recurrent_transposed = tf.transpose(recurrent)  # once: each step's product would do it again

            def backward(t, d_h, d_c, d_zs):
                i, f, g, o = tf.split(gates[t], 4, axis=1)
                tanh_c = tf.tanh(f * cs[t] + i * g)
                d_h = d_h + d_hidden[t]
                d_c = d_c + d_h * o * (1 - tanh_c * tanh_c)
                d_z = [d_c * g * i * (1 - i), d_c * cs[t] * f * (1 - f), d_c * i * (1 - g * g), d_h * tanh_c * o * (1 - o)]
                d_z = tf.concat(d_z, axis=1)
                d_h = d_z @ recurrent_transposed
                return t - 1, kept(t, d_h), kept(t, d_c * f), d_zs.write(t, d_z)

            array = tf.TensorArray(tf.float32, steps)
            *_, array = tf.while_loop(lambda t, *_: t >= 0, backward, (steps - 1, d_h, d_c, array))
            d_z = tf.reshape(array.stack(), (-1, 4 * cell.units))
            before = tf.concat([state[0][None], hs[:-1]], axis=0)
            before = tf.reshape(before if keep is None else before * keep, (-1, cell.units))
            return (
                tf.matmul(flat, d_z, transpose_a=True),
                tf.matmul(before, d_z, transpose_a=True),
                tf.reduce_sum(d_z, axis=0),
            )

        return (tf.transpose(hs, (1, 0, 2)), h, c), gradient

    hidden, h, c = run(*(tf.convert_to_tensor(w) for w in (cell.kernel, cell.recurrent_kernel, cell.bias)))
    return hidden, (h, c)
