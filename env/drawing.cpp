// The loops over pixels in the real games' frames: painting a track, looking at it, drawing the car, and Pillow's resize.
//
// A Python module, world_models.env.drawing, which setup.py builds. Its arrays are NumPy's, in C order.

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <new>
#include <vector>

// A function in two versions, of which the program's loader takes the one for its processor.
#if defined(__x86_64__) && defined(__gnu_linux__)
#define FOR_EACH_PROCESSOR __attribute__((target_clones("avx2", "default")))
#else
#define FOR_EACH_PROCESSOR
#endif

namespace {

struct Failed {};  // thrown where a Python exception has been set

void require(bool holds, const char *message) {
    if (holds) return;
    PyErr_SetString(PyExc_ValueError, message);
    throw Failed();
}

// The memory of a NumPy array, held while this object lives.
template <typename T>
class Array {
    struct Buffer : Py_buffer {
        Buffer(PyObject *object, int flags) {
            if (PyObject_GetBuffer(object, this, flags)) throw Failed();
        }
        ~Buffer() { PyBuffer_Release(this); }
        Buffer(const Buffer &) = delete;
    } buffer_;

  public:
    T *const data;

    Array(PyObject *object, int dimensions, bool writable = false)
        : buffer_(object, PyBUF_ND | PyBUF_C_CONTIGUOUS | (writable ? PyBUF_WRITABLE : 0)),
          data(static_cast<T *>(buffer_.buf)) {
        require(buffer_.ndim == dimensions && buffer_.itemsize == sizeof(T), "an array has other dimensions or another type");
    }
    int size(int axis) const { return static_cast<int>(buffer_.shape[axis]); }
};

// The numbers of a Python tuple.
template <size_t count>
struct Numbers {
    double values[count];

    explicit Numbers(PyObject *tuple) {
        require(PyTuple_Check(tuple) && PyTuple_GET_SIZE(tuple) == count, "a tuple has another number of numbers");
        for (size_t i = 0; i < count; i++) values[i] = PyFloat_AsDouble(PyTuple_GET_ITEM(tuple, i));
        if (PyErr_Occurred()) throw Failed();
    }
    double operator[](size_t i) const { return values[i]; }
};

// ---- Painting a track

void paint(PyObject *const *args) {
    const Array<uint8_t> field(args[0], 2, true), codes(args[3], 1);
    const Array<double> quads(args[1], 3);
    const Array<int64_t> boxes(args[2], 2);
    const int count = quads.size(0), corners = quads.size(1), width = field.size(1);
    require(corners <= 8 && quads.size(2) == 2, "the quads are not (N,K,2)");
    require(boxes.size(0) == count && boxes.size(1) == 4 && codes.size(0) == count, "not as many boxes or codes as quads");
    for (int n = 0; n < count; n++) {
        const double *corner = quads.data + n * corners * 2;
        const int64_t *box = boxes.data + n * 4;
        require(box[0] >= 0 && box[1] >= 0 && box[2] <= width && box[3] <= field.size(0), "a box is not inside the field");
        double x[8], y[8], offset[8];  // of each edge: its direction, and what puts its zero on it
        for (int k = 0; k < corners; k++) {
            const double *here = corner + 2 * k, *next = corner + 2 * ((k + 1) % corners);
            x[k] = next[0] - here[0], y[k] = next[1] - here[1];
            offset[k] = y[k] * here[0] - x[k] * here[1];
        }
        for (int64_t row = box[1]; row < box[3]; row++)
            for (int64_t column = box[0]; column < box[2]; column++) {
                int left = 0;  // how many edges have the pixel's centre on their left
                for (int k = 0; k < corners; k++) left += x[k] * (row + 0.5) - y[k] * (column + 0.5) + offset[k] >= 0;
                if (left == 0 || left == corners) field.data[row * width + column] = codes.data[n];
            }
    }
}

// ---- Looking at it. Numbers are rounded to float32 where OpenCV's warpAffine does, whose pictures these are.

// a * b + c, rounded once. (But for cases of 1 in 2^29; not every processor has an instruction for this.)
inline float fused(float a, float b, float c) { return static_cast<float>(static_cast<double>(a) * b + c); }

struct Field {
    const uint8_t *codes;
    int width, height;
    const uint32_t *palette;

    uint32_t at(int column, int row) const {
        return column < 0 || column >= width || row < 0 || row >= height ? 0 : palette[codes[row * width + column]];
    }
};

// Of one row of a picture: where its pixels are in the field, and which of the field's pixels is the nearest, or if `first` the
// first of the four around: its number, -1 where not all of them are in the field.
FOR_EACH_PROCESSOR void place(const Field &field, const float *m, int row, bool first, int columns, float *x, float *y,
                              int32_t *from) {
    const float begin_x = m[1] * row + m[2], begin_y = m[4] * row + m[5];
    const float step_x = m[0], step_y = m[3], width = field.width - first, height = field.height - first;
    const int32_t line = field.width;
    for (int i = 0; i < columns; i++) {
        x[i] = fused(step_x, i, begin_x);
        y[i] = fused(step_y, i, begin_y);
    }
    for (int i = 0; i < columns; i++) {
        const float at_x = first ? __builtin_floorf(x[i]) : __builtin_rintf(x[i]);
        const float at_y = first ? __builtin_floorf(y[i]) : __builtin_rintf(y[i]);
        const bool inside = at_x >= 0 && at_x < width && at_y >= 0 && at_y < height;
        from[i] = inside ? static_cast<int32_t>(at_y) * line + static_cast<int32_t>(at_x) : -1;
    }
}

// The colours around x, y mixed by its distances from them, along the row and then along the column.
uint32_t mixed(const Field &field, float x, float y) {
    const float left = std::floor(x), top = std::floor(y);
    const int column = static_cast<int>(left), row = static_cast<int>(top);
    const uint32_t colors[] = {field.at(column, row), field.at(column + 1, row), field.at(column, row + 1),
                               field.at(column + 1, row + 1)};
    uint32_t result = 0;
    for (int shift = 0; shift < 32; shift += 8) {
        float of[4];
        for (int k = 0; k < 4; k++) of[k] = static_cast<float>(colors[k] >> shift & 255);
        const float upper = fused(x - left, of[1] - of[0], of[0]), lower = fused(x - left, of[3] - of[2], of[2]);
        result |= static_cast<uint32_t>(std::lrint(fused(y - top, lower - upper, upper))) << shift;
    }
    return result;
}

void look(PyObject *const *args) {
    const Array<uint8_t> codes(args[0], 2);
    const Array<uint32_t> palette(args[1], 1), picture(args[4], 2, true);
    const Numbers<6> matrix(args[2]);
    require(palette.size(0) == 256, "the palette does not have 256 colours");
    const int smooth = PyObject_IsTrue(args[3]), columns = picture.size(1);
    if (smooth < 0) throw Failed();
    const Field field = {codes.data, codes.size(1), codes.size(0), palette.data};
    float m[6];
    std::copy(matrix.values, matrix.values + 6, m);
    std::vector<float> x(columns), y(columns);
    std::vector<int32_t> from(columns);
    uint32_t *out = picture.data;
    for (int row = 0; row < picture.size(0); row++) {
        place(field, m, row, smooth, columns, x.data(), y.data(), from.data());
        if (!smooth) {
            for (int i = 0; i < columns; i++) *out++ = from[i] < 0 ? 0 : field.palette[field.codes[from[i]]];
            continue;
        }
        for (int i = 0; i < columns; i++) {
            const uint8_t *above = field.codes + from[i], *below = above + field.width;
            const bool alike = from[i] >= 0 && above[0] == above[1] && above[0] == below[0] && above[0] == below[1];
            *out++ = alike ? field.palette[above[0]] : mixed(field, x[i], y[i]);
        }
    }
}

void halve(PyObject *const *args) {
    const Array<uint8_t> codes(args[0], 2);
    const Array<uint32_t> palette(args[1], 1), picture(args[2], 2, true);
    const int height = picture.size(0), width = picture.size(1);
    require(palette.size(0) == 256, "the palette does not have 256 colours");
    require(codes.size(0) == 2 * height && codes.size(1) == 2 * width, "the picture is not half as large");
    const uint32_t bytes = 0x00ff00ff, half = 0x00020002;  // two channels at once, with room for their sums
    for (int row = 0; row < height; row++)
        for (int column = 0; column < width; column++) {
            const uint8_t *above = codes.data + (2 * row * codes.size(1) + 2 * column), *below = above + codes.size(1);
            uint32_t even = half, odd = half;
            for (const uint8_t code : {above[0], above[1], below[0], below[1]}) {
                even += palette.data[code] & bytes;
                odd += palette.data[code] >> 8 & bytes;
            }
            picture.data[row * width + column] = (even >> 2 & bytes) | (odd >> 2 & bytes) << 8;
        }
}

// ---- The car

// A number that is linear in a pixel's column and row.
struct Line {
    double column, row, constant;

    double at(double x, double y) const { return column * x + row * y + constant; }
    bool covers(double x, double y) const { return std::abs(at(x, y)) <= 1; }
    Line scaled(double unit, double shift = 0) const { return {column / unit, row / unit, (constant - shift) / unit}; }
};

// A pixel's place as a part of the car has it, across it and along it.
struct Seen {
    Line across, along;

    // x, y: the part's place seen from the hull; m: the matrix from columns and rows to world coordinates.
    Seen(double x, double y, double angle, const Numbers<4> &m) {
        const double cos = std::cos(angle), sin = std::sin(angle);
        across = {cos * m[0] + sin * m[2], cos * m[1] + sin * m[3], -(cos * x + sin * y)};
        along = {cos * m[2] - sin * m[0], cos * m[3] - sin * m[1], sin * x - cos * y};
    }
};

// From -1 to 1 along the grey stripe, which covers 1.2 radians of the tread of a wheel that has turned by `phase`.
Line stripe(double phase, const Line &along) {
    double ends[2];
    int hidden = 0;
    for (int i = 0; i < 2; i++) {
        const double angle = phase + i * 1.2;
        ends[i] = std::cos(angle);
        if (std::sin(angle) <= 0) continue;
        ends[i] = std::copysign(1, ends[i]);  // on the underside
        hidden++;
    }
    const double half = std::abs(ends[0] - ends[1]) / 2;
    if (hidden == 2 || half == 0) return {0, 0, 2};  // covers nothing
    return along.scaled(half, (ends[0] + ends[1]) / 2);
}

// Half of the hull's width at y, -1 in front of it and behind it. outline (2,N): y increasing, half widths.
double half_width(const Array<double> &outline, double y) {
    const double *begin = outline.data, *end = begin + outline.size(1), *widths = end;
    if (!(y >= *begin && y <= end[-1])) return -1;
    const int64_t i = std::upper_bound(begin, end, y) - begin - 1;
    if (begin[i] == y) return widths[i];
    return (widths[i + 1] - widths[i]) / (begin[i + 1] - begin[i]) * (y - begin[i]) + widths[i];
}

void car(PyObject *const *args) {
    const Array<uint8_t> picture(args[0], 3, true), colors(args[1], 2);
    const Array<double> outline(args[2], 2);
    const Numbers<4> layout(args[3]), to_world(args[4]);
    const Numbers<3> hull_at(args[5]);
    const Numbers<2> half(args[6]);
    const int column = layout[0], row = layout[1], reach = layout[2], fine = layout[3], width = picture.size(1);
    require(picture.size(2) == 4 && colors.size(0) == 3 && colors.size(1) == 4 && outline.size(0) == 2 && outline.size(1) > 0,
            "the picture, the colours or the outline has another shape");
    require(fine >= 1 && reach >= 0 && reach <= std::min(column, row) && column + reach <= width &&
                row + reach <= picture.size(0),
            "the car is not inside the picture");
    require(PyList_Check(args[7]), "the wheels are not a list");

    const Seen hull(0, 0, hull_at[2], to_world);
    struct Wheel {
        Line across, along, stripe;
    };
    std::vector<Wheel> wheels;
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(args[7]); i++) {
        const Numbers<4> wheel(PyList_GET_ITEM(args[7], i));  // x, y, angle, phase
        const Seen seen(wheel[0] - hull_at[0], wheel[1] - hull_at[1], wheel[2], to_world);
        const Line along = seen.along.scaled(half[1]);
        wheels.push_back({seen.across.scaled(half[0]), along, stripe(wheel[3], along)});
    }
    // The colour at a place, counted in pixels from the hull's, or null where the car does not cover it.
    const auto color = [&](double x, double y) -> const uint8_t * {
        const uint8_t *found = nullptr;
        if (std::abs(hull.across.at(x, y)) <= half_width(outline, hull.along.at(x, y))) return colors.data + 8;
        for (const Wheel &wheel : wheels) {
            if (!wheel.across.covers(x, y)) continue;
            if (wheel.stripe.covers(x, y)) return colors.data + 4;
            if (wheel.along.covers(x, y)) found = colors.data;
        }
        return found;
    };
    const int samples = fine * fine;
    for (int r = -reach; r < reach; r++)
        for (int c = -reach; c < reach; c++) {
            uint8_t *pixel = picture.data + 4 * ((row + r) * width + column + c);
            int sums[4] = {}, covered = 0;
            for (int i = 0; i < samples; i++)
                if (const uint8_t *here = color(c + (i % fine + 0.5) / fine, r + (i / fine + 0.5) / fine)) {
                    for (int k = 0; k < 4; k++) sums[k] += here[k];
                    covered++;
                }
            if (covered)
                for (int k = 0; k < 4; k++) {
                    sums[k] += (samples - covered) * pixel[k];
                    pixel[k] = static_cast<uint8_t>((2 * sums[k] + samples) / (2 * samples));
                }
        }
}

// ---- Pillow's resize. Pixels are weighted with integers in units of 2^-22; sums are rounded to bytes.

constexpr int PRECISION = 22, HALF = 1 << (PRECISION - 1);

struct Weights {
    const Array<int32_t> first, of;  // (outputs,): the first input of each output; (outputs, taps): the weights from there

    Weights(PyObject *firsts, PyObject *weights, int inputs) : first(firsts, 1), of(weights, 2) {
        require(of.size(0) == outputs(), "not as many first inputs as outputs");
        for (int i = 0; i < outputs(); i++)
            require(first.data[i] >= 0 && first.data[i] + taps() <= inputs, "an output has inputs beyond the image");
    }
    int outputs() const { return first.size(0); }
    int taps() const { return of.size(1); }
};

// Each row of `image`, of 3 or 4 channels, to `outputs` pixels of 4 channels.
__attribute__((always_inline)) inline void resize_rows(const uint8_t *image, int rows, int width, int channels,
                                                       const int32_t *first, const int32_t *weights, int taps, int outputs,
                                                       uint8_t *out) {
    typedef int32_t Pixel __attribute__((vector_size(16)));
    std::vector<int32_t> line(width * channels + 1), sums(outputs * 4);
    for (int row = 0; row < rows; row++, image += width * channels, out += outputs * 4) {
        for (int i = 0; i < width * channels; i++) line[i] = image[i];
        for (int output = 0; output < outputs; output++) {
            const int32_t *at = line.data() + first[output] * channels, *weight = weights + output * taps;
            Pixel sum = {HALF, HALF, HALF, HALF};
            for (int tap = 0; tap < taps; tap++) {
                Pixel pixel;  // of 3 channels: with a byte of the next one
                std::memcpy(&pixel, at + tap * channels, sizeof pixel);
                sum += pixel * weight[tap];
            }
            std::memcpy(sums.data() + output * 4, &sum, sizeof sum);
        }
        for (int i = 0; i < outputs * 4; i++) out[i] = static_cast<uint8_t>(sums[i] >> PRECISION);
    }
}

// The same, faster where the compiler knows how many weights there are, as for the car's pictures.
FOR_EACH_PROCESSOR void resize_all_rows(const uint8_t *image, int rows, int width, int channels, const int32_t *first,
                                        const int32_t *weights, int taps, int outputs, uint8_t *out) {
    if (taps == 3 && channels == 4)
        resize_rows(image, rows, width, 4, first, weights, 3, outputs, out);
    else
        resize_rows(image, rows, width, channels, first, weights, taps, outputs, out);
}

// The columns of `image`, which has rows of `width` bytes, to `outputs` rows.
FOR_EACH_PROCESSOR void resize_columns(const uint8_t *image, int width, const int32_t *first, const int32_t *weights, int taps,
                                       int outputs, uint8_t *out) {
    std::vector<int32_t> sums(width);
    for (int output = 0; output < outputs; output++, out += width) {
        std::fill(sums.begin(), sums.end(), HALF);
        for (int tap = 0; tap < taps; tap++) {
            const uint8_t *row = image + (first[output] + tap) * width;
            const int32_t weight = weights[output * taps + tap];
            for (int i = 0; i < width; i++) sums[i] += row[i] * weight;
        }
        for (int i = 0; i < width; i++) out[i] = static_cast<uint8_t>(sums[i] >> PRECISION);
    }
}

void resize(PyObject *const *args) {
    const Array<uint8_t> image(args[0], 3), out(args[5], 3, true);
    const int rows = image.size(0), width = image.size(1), channels = image.size(2);
    const Weights across(args[1], args[2], width), down(args[3], args[4], rows);
    require(channels == 3 || channels == 4, "the image does not have 3 or 4 channels");
    require(out.size(0) == down.outputs() && out.size(1) == across.outputs() && out.size(2) == 3,
            "the output has another shape");
    const int line = across.outputs() * 4;
    std::vector<uint8_t> narrow(rows * line), small(down.outputs() * line);
    resize_all_rows(image.data, rows, width, channels, across.first.data, across.of.data, across.taps(), across.outputs(),
                    narrow.data());
    resize_columns(narrow.data(), line, down.first.data, down.of.data, down.taps(), down.outputs(), small.data());
    // Four bytes at a time, of which the next pixel overwrites the last.
    const int pixels = down.outputs() * across.outputs();
    const uint8_t *from = small.data();
    uint8_t *to = out.data;
    for (int i = 0; i + 1 < pixels; i++, from += 4, to += 3) std::memcpy(to, from, 4);
    if (pixels > 0) std::memcpy(to, from, 3);
}

// ---- The module

template <void (*function)(PyObject *const *), Py_ssize_t arguments>
PyObject *call(PyObject *, PyObject *const *args, Py_ssize_t count) {
    if (count != arguments) return PyErr_Format(PyExc_TypeError, "expected %zd arguments, not %zd", arguments, count);
    try {
        function(args);
    } catch (const Failed &) {
        return nullptr;
    } catch (const std::bad_alloc &) {
        return PyErr_NoMemory();
    }
    Py_RETURN_NONE;
}

template <void (*function)(PyObject *const *), Py_ssize_t arguments>
PyMethodDef method(const char *name, const char *documentation) {
    void *const address = reinterpret_cast<void *>(&call<function, arguments>);
    return {name, reinterpret_cast<PyCFunction>(address), METH_FASTCALL, documentation};
}

PyMethodDef methods[] = {
    method<paint, 4>("paint", R"(paint(field (H,W) uint8, quads (N,K,2) float64, boxes (N,4) int64, codes (N,) uint8)

Paint convex polygons in their order. A pixel is inside where its centre is, as in OpenGL.
quads: corners in pixels of the field, clockwise or not. boxes: the first column and row, and the last ones + 1.)"),
    method<look, 5>("look", R"(look(field (H,W) uint8, palette (256,) uint32, matrix (6), smooth, picture (h,w) uint32)

A picture of the field, 0 beyond it: the nearest pixels, or where `smooth`, four mixed by their distances.
matrix: (a, b, x, c, d, y) from a column and row of the picture to those of the field.)"),
    method<halve, 3>("halve", R"(halve(field (H,W) uint8, palette (256,) uint32, picture (H/2,W/2) uint32)

The field at half its size, each pixel the rounded mean of four.)"),
    method<car, 8>("car", R"(car(picture (H,W,4) uint8, colors (3,4) uint8, outline (2,N) float64, (column, row, reach, fine),
    to_world (4), (x, y, angle) of the hull, half the size of a wheel (2), wheels [(x, y, angle, phase)])

Draw the car over the pixels that are less than `reach` from column and row.
colors: of wheels, their stripe, the hull. outline: along the hull, and its half widths there.
to_world: a, b, c, d of [[a, b], [c, d]] from columns and rows. fine: samples of a pixel in each direction.)"),
    method<resize, 6>("resize", R"(resize(image (H,W,C) uint8, first (w,) int32, weights (w,K) int32,
    first (h,) int32, weights (h,L) int32, out (h,w,3) uint8)

Pillow's two passes: each row to w pixels, then each column to h. C is 3, or 4 with one unused.
first, weights: the first input of each output, and the weights from there, in 2^-22.)"),
    {nullptr, nullptr, 0, nullptr},
};
PyModuleDef module = {PyModuleDef_HEAD_INIT, "drawing", nullptr, -1, methods, nullptr, nullptr, nullptr, nullptr};

}  // namespace

PyMODINIT_FUNC PyInit_drawing() { return PyModule_Create(&module); }
