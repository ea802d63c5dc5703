/* What torch's operations leave slow in a codec on a CPU: the steps of an LSTM, and activations.

   Every number is summed in one order, by one thread, and by the same instructions, whatever lies beside it and
   however many threads there are: that is what lets batches, tiles and threads change nothing.

   hatch_build.py compiles this once for each width of vector registers; kernels.py calls it. Vectors are the compiler's
   own (GCC's vector extensions), a * b + c is one rounding (-ffp-contract=fast), threads are torch's (OpenMP). */

#include <stdint.h>
#include <string.h>

#ifdef __AVX512F__
enum { LANES = 16, TILE = 6 }; /* floats in a register, and rows whose sums, four registers each, fit into the 32 */
#else
enum { LANES = 8, TILE = 3 }; /* … into the 16 */
#endif
enum { GATES = 4, ROWS = 16, CHUNK = 64, LINE = 16 };
enum { SMALL = 1 << 15 }; /* numbers; waking a thread would take longer */

typedef float vec __attribute__((vector_size(4 * LANES)));
typedef int32_t ints __attribute__((vector_size(4 * LANES)));
typedef float anywhere __attribute__((vector_size(4 * LANES), aligned(4), may_alias)); /* a vec in memory */

#define INLINE static inline __attribute__((always_inline))

INLINE vec all(float x) { return x - (vec){0}; }
INLINE vec where(ints is, vec a, vec b) { return (vec)((is & (ints)a) | (~is & (ints)b)); }
INLINE vec clamp(vec x, float most) { return where(x > most, all(most), where(x < -most, all(-most), x)); }

/* The nearest whole number, up to 2^22: added and taken away again, 1.5 * 2^23 leaves no room for a fraction. */
INLINE vec nearest(vec x) { return (x + 0x1.8p23f) - 0x1.8p23f; }

/* e^x - 1 to about one unit in the last place, by Cody and Waite: x = n ln 2 + r, and a Taylor polynomial of r. */
INLINE vec exp_less_1(vec x) {
    x = clamp(x, 87);
    vec n = nearest(x * 0x1.715476p0f);
    vec r = x - n * 0x1.62e4p-1f - n * 0x1.7f7d1cp-20f; /* ln 2 in two parts, the first so short that n times it is exact */
    vec p = all(1.0f / 5040);
    p = p * r + 1.0f / 720;
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = p * (r * r) + r;
    vec power = (vec)((__builtin_convertvector(n, ints) + 127) << 23); /* 2^n, by its exponent's bits */
    return p * power + (power - 1);
}

INLINE vec sigmoid(vec x) { return 1 / (2 + exp_less_1(-x)); }

INLINE vec tanh_(vec x) {
    vec e = exp_less_1(x * 2);
    return e / (e + 2);
}

/* sin(x)^2, of which every half turn is the same: x = n pi + r, and a Taylor polynomial of sin r. */
INLINE vec sine_squared(vec x) {
    vec n = nearest(x * 0x1.45f306p-2f);
    vec r = x - n * 0x1.921fb6p1f - n * -0x1.777a5cp-24f; /* pi in two parts */
    r = clamp(r, 0x1.921fb6p0f); /* where floats are too coarse for n */
    vec q = r * r;
    vec p = all(1.0f / 6227020800);
    p = p * q - 1.0f / 39916800;
    p = p * q + 1.0f / 362880;
    p = p * q - 1.0f / 5040;
    p = p * q + 1.0f / 120;
    p = p * q - 1.0f / 6;
    p = p * (q * r) + r;
    return p * p;
}

/* sum += W h over the inputs from `begin` to `end`, for `rows` rows; the compiler unrolls it, so rows is a constant. */
INLINE void add_products(const int rows, int64_t width, int64_t begin, int64_t end, const float *weight,
                         const float *hidden, vec (*sum)[GATES]) {
    vec held[TILE][GATES];
    for (int row = 0; row < rows; row++)
        for (int gate = 0; gate < GATES; gate++) held[row][gate] = sum[row][gate];
    for (int64_t k = begin; k < end; k++)
        for (int gate = 0; gate < GATES; gate++) {
            vec w = *(const anywhere *)(weight + (k * GATES + gate) * LANES);
            for (int row = 0; row < rows; row++) held[row][gate] += w * hidden[row * width + k];
        }
    for (int row = 0; row < rows; row++)
        for (int gate = 0; gate < GATES; gate++) sum[row][gate] = held[row][gate];
}

static void add_tile(int64_t rows, int64_t width, int64_t begin, int64_t end, const float *weight, const float *hidden,
                     vec (*sum)[GATES]) {
    switch (rows) {
        case 1: add_products(1, width, begin, end, weight, hidden, sum); break;
        case 2: add_products(2, width, begin, end, weight, hidden, sum); break;
        case 3: add_products(3, width, begin, end, weight, hidden, sum); break;
#if defined __AVX512F__
        case 4: add_products(4, width, begin, end, weight, hidden, sum); break;
        case 5: add_products(5, width, begin, end, weight, hidden, sum); break;
        case 6: add_products(6, width, begin, end, weight, hidden, sum); break;
#endif
    }
}

INLINE int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

/* LANES units of up to ROWS clips, one frame on. A chunk of weights is read from memory once and stays in the cache for
   all clips. `weight` [width][GATES][LANES]; `heard` [rows][GATES][width] and all others [rows][width], from the units'
   first on. */
INLINE void step(int64_t rows, int64_t width, const float *weight, const float *heard, const float *before, float *cell,
                 float *after) {
    vec sum[ROWS][GATES];
    memset(sum, 0, rows * sizeof *sum);
    for (int64_t begin = 0; begin < width; begin += CHUNK)
        for (int64_t row = 0; row < rows; row += TILE)
            add_tile(least(TILE, rows - row), width, begin, least(begin + CHUNK, width), weight, before + row * width,
                     sum + row);
    for (int64_t row = 0; row < rows; row++, heard += GATES * width, cell += width, after += width) {
        vec entry = sigmoid(sum[row][0] + *(const anywhere *)heard);
        vec forget = sigmoid(sum[row][1] + *(const anywhere *)(heard + width));
        vec candidate = tanh_(sum[row][2] + *(const anywhere *)(heard + 2 * width));
        vec output = sigmoid(sum[row][3] + *(const anywhere *)(heard + 3 * width));
        vec now = entry * candidate;
        now = forget * *(anywhere *)cell + now;
        *(anywhere *)cell = now;
        *(anywhere *)after = output * tanh_(now);
    }
}

int lanes(void) { return LANES; }

/* Recurrent weights as torch has them, [GATES][width][width inputs] → [width / LANES][width inputs][GATES][LANES]. */
void lstm_pack(int64_t width, const float *weight, float *packed, int64_t threads) {
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t unit = 0; unit < width; unit += LANES)
        for (int64_t begin = 0; begin < width; begin += LINE) /* of each row as much as came with its first number */
            for (int64_t gate = 0; gate < GATES; gate++)
                for (int64_t lane = 0; lane < LANES; lane++) {
                    const float *from = weight + (gate * width + unit + lane) * width;
                    for (int64_t k = begin; k < least(begin + LINE, width); k++)
                        packed[(unit * width + k * LANES) * GATES + gate * LANES + lane] = from[k];
                }
}

/* All steps of an LSTM layer over `rows` clips abreast. `weight` [width / LANES][width][GATES][LANES], `heard` (what the
   inputs and biases give) [frames][rows][GATES][width], `hidden` [1 + frames][rows][width], of which the first is given,
   `cell` [rows][width], which is replaced; gates in torch's order: entry, forget, candidate, output. */
void lstm(int64_t frames, int64_t rows, int64_t width, const float *weight, const float *heard, float *hidden,
          float *cell, int64_t threads) {
#pragma omp parallel num_threads(threads)
    for (int64_t frame = 0; frame < frames; frame++) {
        const float *before = hidden + frame * rows * width;
#pragma omp for schedule(static)
        for (int64_t unit = 0; unit < width; unit += LANES)
            for (int64_t row = 0; row < rows; row += ROWS)
                step(least(ROWS, rows - row), width, weight + unit * width * GATES,
                     heard + (frame * rows + row) * GATES * width + unit, before + row * width,
                     cell + row * width + unit, hidden + ((frame + 1) * rows + row) * width + unit);
    }
}

INLINE void elu_some(size_t count, const float *in, float *out) {
    vec x = {0};
    memcpy(&x, in, count * sizeof *in);
    vec y = where(x < 0, exp_less_1(x), x);
    memcpy(out, &y, count * sizeof *in);
}

/* x, or e^x - 1 where x is below zero; `out` may be `in`. */
void elu(int64_t count, const float *in, float *out, int64_t threads) {
    int64_t even = count / LANES * LANES;
#pragma omp parallel for schedule(static) num_threads(threads) if (count > SMALL)
    for (int64_t i = 0; i < even; i += LANES) elu_some(LANES, in + i, out + i);
    elu_some(count - even, in + even, out + even);
}

/* x + sin(alpha x)^2 / alpha of [rows][channels], with as many channels as fill whole registers; `out` may be `in`. */
void snake(int64_t rows, int64_t channels, const float *alpha, const float *inverse, const float *in, float *out,
           int64_t threads) {
#pragma omp parallel for schedule(static) num_threads(threads) if (rows * channels > SMALL)
    for (int64_t row = 0; row < rows; row++)
        for (int64_t c = 0; c < channels; c += LANES) {
            vec x = *(const anywhere *)(in + row * channels + c);
            vec wave = sine_squared(x * *(const anywhere *)(alpha + c));
            *(anywhere *)(out + row * channels + c) = wave * *(const anywhere *)(inverse + c) + x;
        }
}
