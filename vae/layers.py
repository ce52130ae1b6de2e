"""V's convolutions of stride 2, computed faster on a CPU than Keras's own, with the same weights.

In training, a kernel of even size is applied with stride 1 and half the size to blocks of 2x2 pixels (space to depth):
(B,2h,2w,C) -> (B,h,w,4C). Each tap of the kernel is then a matrix product with a rectangle of blocks. Outside training the
layers are Keras's, bit for bit. Files name a layer after its class, so two classes have the names of Keras's.
"""

import tensorflow as tf

from world_models.job.deep import keras


@keras.saving.register_keras_serializable("world_models")
class Conv2D(keras.layers.Conv2D):
    """Keras's Conv2D for stride 2, an even size and no padding. Its gradient is faster for few pixels with many channels."""

    def call(self, inputs, training=False):
        """(B,H,W,C) -> (B,h,w,filters)."""
        if not training:
            return super().call(inputs)

        @tf.custom_gradient
        def convolution(inputs, kernel):
            def gradient(outputs):
                to_inputs = tf.raw_ops.Conv2DBackpropInput(
                    input_sizes=tf.shape(inputs), filter=kernel, out_backprop=outputs, strides=(1, 2, 2, 1), padding="VALID"
                )
                return to_inputs, kernel_gradient(inputs, outputs, kernel.shape)

            return tf.nn.conv2d(inputs, kernel, 2, "VALID"), gradient

        return self.activation(convolution(inputs, self.kernel.value) + self.bias.value)


@keras.saving.register_keras_serializable("world_models")
class PatchConv(keras.layers.Conv2D):
    """`Conv2D` for few pixels with many channels, as one matrix product of the input's patches.

    For the encoder's last layer the usual convolution takes three times as long: it reorders the weights at each call.
    """

    def call(self, inputs, training=False):
        """(B,H,W,C) -> (B,h,w,filters)."""
        size = self.kernel_size[0]
        rows, columns = (range(0, pixels - size + 1, 2) for pixels in inputs.shape[1:3])
        length = inputs.shape[3] * size**2  # of a patch

        def convolution(inputs, kernel):
            patches = [tf.reshape(inputs[:, i : i + size, j : j + size], (-1, length)) for i in rows for j in columns]
            return tf.reshape(tf.stack(patches, axis=1), (-1, length)) @ tf.reshape(kernel, (-1, self.filters))

        @tf.custom_gradient
        def trained(inputs, kernel):
            def gradient(outputs):
                outputs = tf.reshape(outputs, (-1, len(rows), len(columns), self.filters))
                return input_gradient(inputs.shape, outputs, kernel), kernel_gradient(inputs, outputs, kernel.shape)

            return convolution(inputs, kernel), gradient

        pixels = (trained if training else convolution)(inputs, self.kernel.value)
        return self.activation(tf.reshape(pixels + self.bias.value, (-1, len(rows), len(columns), self.filters)))


@keras.saving.register_keras_serializable("world_models")
class PixelTranspose(keras.layers.Conv2DTranspose):
    """Conv2DTranspose of 1x1 pictures, as one matrix product. It saves a fifth of the time of a whole update on a CPU."""

    def call(self, inputs):
        """(B,1,1,C) -> (B,*kernel_size,filters)."""
        channels = inputs.shape[-1]
        pixels = tf.matmul(tf.reshape(inputs, (-1, channels)), tf.reshape(self.kernel.value, (-1, channels)), transpose_b=True)
        return self.activation(tf.reshape(pixels, (-1, *self.kernel.shape[:3])) + self.bias.value)


@keras.saving.register_keras_serializable("world_models")
class Conv2DTranspose(keras.layers.Conv2DTranspose):
    """Keras's Conv2DTranspose for stride 2, an even size and no padding. With few filters, training takes less than half
    the time.

    A CPU always computes at least eight filters. On blocks there are four times as many.
    """

    def call(self, inputs, training=False):
        """(B,h,w,C) -> (B,H,W,filters)."""
        if not training:
            return super().call(inputs)

        @tf.custom_gradient
        def transpose(inputs, kernel, bias):
            around = kernel.shape[0] // 2 - 1
            taps = tf.transpose(blocks(kernel)[::-1, ::-1], (0, 1, 3, 2))  # (size/2,size/2,C,4*filters)
            made = tf.nn.conv2d(inputs, taps, 1, [[0, 0], [around, around], [around, around], [0, 0]])

            def gradient(outputs):
                to_kernel = tf.raw_ops.Conv2DBackpropFilter(
                    input=outputs, filter_sizes=kernel.shape, out_backprop=inputs, strides=(1, 2, 2, 1), padding="VALID"
                )
                # BiasAddGrad takes four times as long, and sums in bfloat16 where the outputs are bfloat16.
                to_bias = tf.reduce_sum(tf.reduce_sum(tf.cast(outputs, tf.float32), (0, 1)), 0)
                return tf.nn.conv2d(outputs, kernel, 2, "VALID"), to_kernel, tf.cast(to_bias, bias.dtype)

            return tf.nn.depth_to_space(tf.nn.bias_add(made, tf.tile(bias, [4])), 2), gradient

        return self.activation(transpose(inputs, self.kernel.value, self.bias.value))


def blocks(kernel):
    """A kernel (2s,2s,C,F) of stride 2 as one of stride 1, (s,s,4C,F), on blocks of 2x2 pixels."""
    half, channels, filters = kernel.shape[0] // 2, *kernel.shape[2:]
    taps = tf.transpose(tf.reshape(kernel, (half, 2, half, 2, channels, filters)), (0, 2, 1, 3, 4, 5))
    return tf.reshape(taps, (half, half, 4 * channels, filters))


def kernel_gradient(inputs, outputs, shape):
    """The gradient (2s,2s,C,F) of a kernel of stride 2, from its inputs (B,H,W,C) and the gradient (B,h,w,F) of its outputs."""
    half, channels, filters = shape[0] // 2, *shape[2:]
    rows, columns = outputs.shape[1:3]
    blocked = tf.nn.space_to_depth(inputs[:, : 2 * (rows + half - 1), : 2 * (columns + half - 1)], 2)
    outputs = tf.reshape(outputs, (-1, filters))
    taps = [
        tf.matmul(tf.reshape(blocked[:, i : i + rows, j : j + columns], (-1, 4 * channels)), outputs, transpose_a=True)
        for i in range(half)
        for j in range(half)
    ]
    taps = tf.transpose(tf.reshape(tf.stack(taps), (half, half, 2, 2, channels, filters)), (0, 2, 1, 3, 4, 5))
    return tf.reshape(taps, shape)


def input_gradient(shape, outputs, kernel):
    """The gradient of inputs of `shape` (B,H,W,C), from the gradient (B,h,w,F) of outputs and the kernel (2s,2s,C,F)."""
    half, channels, filters = kernel.shape[0] // 2, *kernel.shape[2:]
    rows, columns = outputs.shape[1:3]
    taps, pixels = blocks(kernel), tf.reshape(outputs, (-1, filters))
    shares = []
    for i in range(half):
        for j in range(half):
            share = tf.reshape(tf.matmul(pixels, taps[i, j], transpose_b=True), (-1, rows, columns, 4 * channels))
            shares.append(tf.pad(share, [[0, 0], [i, half - 1 - i], [j, half - 1 - j], [0, 0]]))
    made = tf.nn.depth_to_space(tf.add_n(shares), 2)
    unseen = [[0, length - seen] for length, seen in zip(shape[1:3], made.shape[1:3], strict=True)]
    return tf.pad(made, [[0, 0], *unseen, [0, 0]]) if unseen != [[0, 0], [0, 0]] else made
