/* What torch's operations leave slow in a codec on a CPU: products, the steps of an LSTM, and activations.

   Every number is summed in one order, by one thread, and by the same instructions, whatever lies beside it and
   however many threads there are: that is what lets batches, tiles and threads change nothing.

   hatch_build.py compiles this once for each kind of CPU; kernels.py calls it. Vectors are the compiler's own (GCC's
   vector extensions), a * b + c is one rounding (-ffp-contract=fast), threads are torch's (OpenMP). */

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

/* What is multiplied: floats; floats by weights in float16, which are widened on the way; or bfloat16 by bfloat16, in
   pairs that take a float's place. Sums are always floats. */
enum { FLOATS, HALF_WEIGHTS, PAIRS };
#ifdef __AVX512BF16__
enum { HAS_PAIRS = 1 };
#else
enum { HAS_PAIRS = 0 };
#endif

#ifdef __AVX512F__
enum { LANES = 16, TILE = 6 }; /* floats in a register, and rows whose sums, four registers each, fit into the 32 */
#else
enum { LANES = 8, TILE = 3 }; /* … into the 16 */
#endif
enum { GATES = 4, WIDE = GATES }; /* registers side by side, of one row */
enum { CLIPS = 16, ROWS = 60 };   /* rows at once of an LSTM, and of other products */
_Static_assert(ROWS % TILE == 0, "shares of rows are whole tiles");
enum { READ = 64, KEPT = 1 << 17 }; /* numbers: packed of a row at once; weights that a core's cache keeps */
enum { CHUNK = 128 }; /* inputs summed at once, as many on every CPU, so that all give the same bits; their weights, 16
                         or 32 KB, lie in a core's caches meanwhile */
enum { SPREAD = 16, FEW = 4 }; /* where outputs fill no registers: partial sums of one, and rows at once */
enum { PART = 1 << 12, SMALL = 1 << 15 }; /* numbers: one piece of work, and what is not worth waking threads for */

typedef float vec __attribute__((vector_size(4 * LANES)));
typedef int32_t ints __attribute__((vector_size(4 * LANES)));
typedef uint16_t halves __attribute__((vector_size(2 * LANES)));

#define INLINE static inline __attribute__((always_inline))

INLINE vec all(float x) { return x - (vec){0}; }
INLINE vec same(const float *x) { /* whatever its bits mean, in all lanes */
    int32_t bits;
    memcpy(&bits, x, 4);
    return (vec)(bits - (ints){0});
}

INLINE vec where(ints is, vec a, vec b) { return (vec)((is & (ints)a) | (~is & (ints)b)); }
INLINE vec clamp(vec x, float most) { return where(x > most, all(most), where(x < -most, all(-most), x)); }

/* Up to LANES numbers of `size` bytes: floats, or bfloat16, which are the upper halves of floats. */
INLINE vec load(const int size, int64_t count, const void *from) {
    vec x = {0};
    halves upper = {0};
    memcpy(size == 4 ? (void *)&x : (void *)&upper, from, count * size);
    return size == 4 ? x : (vec)(__builtin_convertvector(upper, ints) << 16);
}

INLINE void store(const int size, int64_t count, vec x, void *to) {
    ints bits = (ints)x, odd = bits >> 16 & 1;
    halves upper = __builtin_convertvector((bits + 0x7fff + odd) >> 16, halves); /* halves to even */
    memcpy(to, size == 4 ? (void *)&x : (void *)&upper, count * size);
}

/* The nearest whole number, up to 2^22: added and taken away again, 1.5 * 2^23 leaves no room for a fraction. */
INLINE vec nearest(vec x) { return (x + 0x1.8p23f) - 0x1.8p23f; }

/* e^x - 1 to about one unit in the last place, by Cody and Waite: x = n ln 2 + r, and a Taylor polynomial of r. */
INLINE vec exp_less_1(vec x) {
    x = clamp(x, 87);
    vec n = nearest(x * 0x1.715476p0f);
    vec r = x - n * 0x1.62e4p-1f - n * 0x1.7f7d1cp-20f; /* ln 2 in two parts, n times the first is exact */
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

INLINE int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
INLINE int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }
INLINE int64_t up(int64_t a, int64_t b) { return (a + b - 1) / b; }

/* Rows of numbers, each of which begins `pitch` numbers after the one before. */
typedef struct {
    float *at;
    int64_t pitch;
} Rows;

INLINE Rows skip(Rows rows, int64_t count) { return (Rows){rows.at + count * rows.pitch, rows.pitch}; }

/* The weight that lies `count` behind. */
INLINE const void *behind(const int kind, const void *weight, int64_t count) {
    return (const char *)weight + count * (kind == HALF_WEIGHTS ? 2 : 4);
}

/* LANES weights. */
INLINE vec some_weights(const int kind, const void *from) {
    if (kind != HALF_WEIGHTS) return load(4, LANES, from);
#ifdef __AVX512F__
    return (vec)_mm512_cvtph_ps(_mm256_loadu_si256(from));
#else
    return (vec)_mm256_cvtph_ps(_mm_loadu_si128(from));
#endif
}

/* sum + a b. CPUs without products of pairs make them of two others: slowly, but so every CPU can test what takes them. */
INLINE vec add_product(const int kind, vec sum, vec a, vec b) {
#ifdef __AVX512BF16__
    if (kind == PAIRS) return (vec)_mm512_dpbf16_ps((__m512)sum, (__m512bh)a, (__m512bh)b);
#endif
    if (kind == PAIRS) {
        vec first = sum + (vec)((ints)a << 16) * (vec)((ints)b << 16);
        return first + (vec)((ints)a >> 16 << 16) * (vec)((ints)b >> 16 << 16);
    }
    return sum + a * b;
}

/* to = W in + with, over `count` inputs, for `rows` rows; the compiler unrolls it, so rows is a constant. Long sums are
   made of these short ones, which loses fewer bits than one after the other would. */
INLINE void add_products(const int kind, const int rows, int64_t count, const void *weight, Rows in, Rows with,
                         Rows to) {
    vec sum[TILE][WIDE];
    for (int row = 0; row < rows; row++)
        for (int part = 0; part < WIDE; part++) sum[row][part] = all(0);
#pragma GCC unroll 4
    for (int64_t k = 0; k < count; k++)
        for (int part = 0; part < WIDE; part++) {
            vec w = some_weights(kind, behind(kind, weight, (k * WIDE + part) * LANES));
            for (int row = 0; row < rows; row++)
                sum[row][part] = add_product(kind, sum[row][part], w, same(skip(in, row).at + k));
        }
    for (int row = 0; row < rows; row++)
        for (int part = 0; part < WIDE; part++) {
            vec more = load(4, LANES, skip(with, row).at + part * LANES) + sum[row][part];
            store(4, LANES, more, skip(to, row).at + part * LANES);
        }
}

INLINE void add_tile(const int kind, int64_t rows, int64_t count, const void *weight, Rows in, Rows with, Rows to) {
    switch (rows) {
        case 1: add_products(kind, 1, count, weight, in, with, to); break;
        case 2: add_products(kind, 2, count, weight, in, with, to); break;
        case 3: add_products(kind, 3, count, weight, in, with, to); break;
#if defined __AVX512F__
        case 4: add_products(kind, 4, count, weight, in, with, to); break;
        case 5: add_products(kind, 5, count, weight, in, with, to); break;
        case 6: add_products(kind, 6, count, weight, in, with, to); break;
#endif
    }
}

/* to = W in + with, of up to ROWS rows and WIDE * LANES outputs. `weight` [depth][WIDE][LANES]; a chunk of it stays in
   the cache for all rows. A pair counts as one number. */
INLINE void add_all(const int kind, int64_t rows, int64_t depth, const void *weight, Rows in, Rows with, Rows to) {
    vec room[ROWS][WIDE];
    Rows sum = {(float *)room, WIDE * LANES};
    for (int64_t begin = 0; begin < depth; begin += CHUNK) {
        int64_t count = least(CHUNK, depth - begin);
        Rows out = begin + CHUNK < depth ? sum : to;
        for (int64_t row = 0; row < rows; row += TILE)
            add_tile(kind, least(TILE, rows - row), count, weight, skip(in, row), skip(with, row), skip(out, row));
        in.at += count, weight = behind(kind, weight, count * WIDE * LANES), with = sum;
    }
}

/* The new states of LANES units, from their gates in torch's order. */
INLINE void say(const int size, const vec *gates, float *cell, void *hidden) {
    vec entry = sigmoid(gates[0]), forget = sigmoid(gates[1]), candidate = tanh_(gates[2]), output = sigmoid(gates[3]);
    vec heard = entry * candidate;
    vec now = forget * load(4, LANES, cell) + heard;
    store(4, LANES, now, cell);
    store(size, LANES, output * tanh_(now), hidden);
}

/* LANES units of up to CLIPS clips, one frame on. `weight` [width][GATES][LANES]; `heard` [rows][GATES][width] and all
   others [rows][width], from the units' first on. All but `cell` have `size` bytes a number. */
INLINE void step(const int size, int64_t rows, int64_t width, const void *weight, const char *heard, void *before,
                 float *cell, char *after) {
    vec sum[CLIPS][GATES], zeros[GATES] = {0};
    int64_t depth = width * size / 4;
    add_all(size == 4 ? FLOATS : PAIRS, rows, depth, weight, (Rows){before, depth}, (Rows){(float *)zeros, 0},
            (Rows){(float *)sum, GATES * LANES});
    for (int64_t row = 0; row < rows; row++) {
        for (int gate = 0; gate < GATES; gate++, heard += width * size) sum[row][gate] += load(size, LANES, heard);
        say(size, sum[row], cell + row * width, after + row * width * size);
    }
}

int lanes(void) { return LANES; }
int block(void) { return WIDE * LANES; }
int spread(void) { return SPREAD; }
int has_pairs(void) { return HAS_PAIRS; }

/* Where the output lies that stands at `output` of `dims` dimensions. */
static int64_t place(int64_t output, int64_t dims, const int64_t *counts, const int64_t *apart) {
    int64_t at = 0;
    for (int64_t dim = dims - 1; dim >= 0; output /= counts[dim--]) at += output % counts[dim] * apart[dim];
    return at;
}

/* Weights as a checkpoint has them → [outputs / WIDE / LANES][taps][inputs][WIDE][LANES], times the gains of outputs
   and inputs, if there are such. Outputs are `dims` dimensions with so many `counts`, `apart` from each other; an
   output's inputs are `step` apart, its taps `tap_step`. */
void pack(int64_t dims, const int64_t *counts, const int64_t *apart, int64_t inputs, int64_t step, int64_t taps,
          int64_t tap_step, const float *weight, const float *output_gain, const float *input_gain, int64_t outputs,
          float *packed, int64_t threads) {
    int64_t depth = taps * inputs, some = most(1, READ / taps);
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t block = 0; block < outputs / WIDE / LANES; block++)
        for (int64_t begin = 0; begin < inputs; begin += some)
            for (int64_t part = 0; part < WIDE; part++) {
                int64_t first = (block * WIDE + part) * LANES;
                const float *from[LANES];
                for (int lane = 0; lane < LANES; lane++) from[lane] = weight + place(first + lane, dims, counts, apart);
                vec gain = output_gain ? load(4, LANES, output_gain + first) : all(1);
                for (int64_t i = begin; i < least(begin + some, inputs); i++)
                    for (int64_t tap = 0; tap < taps; tap++) {
                        vec column;
                        for (int lane = 0; lane < LANES; lane++) column[lane] = from[lane][i * step + tap * tap_step];
                        column = column * gain * (input_gain ? input_gain[i] : 1);
                        store(4, LANES, column, packed + ((block * depth + tap * inputs + i) * WIDE + part) * LANES);
                    }
            }
}

/* A block of outputs of up to ROWS rows. Of pairs they are rounded to bfloat16. */
INLINE void multiply(const int kind, int64_t rows, int64_t depth, int64_t outputs, const void *weight, Rows bias,
                     Rows in, char *out) {
    if (kind != PAIRS) return add_all(kind, rows, depth, weight, in, bias, (Rows){(float *)out, outputs});
    vec made[ROWS][WIDE];
    add_all(kind, rows, depth, weight, in, bias, (Rows){(float *)made, WIDE * LANES});
    for (int64_t row = 0; row < rows; row++)
        for (int64_t part = 0; part < WIDE; part++)
            store(2, LANES, made[row][part], out + (row * outputs + part * LANES) * 2);
}

/* out = W x + bias, [rows][outputs]. Rows of `in`, of `depth` numbers or pairs, begin `pitch` apart, so that they may be
   the overlapping windows of a convolution. Whole blocks of outputs: a multiple of WIDE * LANES. */
void products(int64_t kind, int64_t rows, int64_t pitch, int64_t depth, int64_t outputs, const void *weight,
              float *bias, void *in, char *out, int64_t threads) {
    if (rows == 0) return;
    int64_t blocks = outputs / WIDE / LANES, shares = most(up(rows, ROWS), up(threads, blocks));
    int64_t share = up(rows, shares * TILE) * TILE; /* rows, at most ROWS */
    shares = up(rows, share);
    /* In turn comes first what finds the other still in the cache: the blocks of weights, if it keeps them all, or else
       the shares of rows. */
    int keeps = outputs * depth <= KEPT;
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t part = 0; part < shares * blocks; part++) {
        int64_t row = share * (keeps ? part / blocks : part % shares), some = least(share, rows - row);
        int64_t output = WIDE * LANES * (keeps ? part % blocks : part / shares);
        Rows from = skip((Rows){in, pitch}, row), with = {bias + output, 0};
        char *to = out + (row * outputs + output) * (kind == PAIRS ? 2 : 4);
        const void *block = behind(kind, weight, output * depth);
        if (kind == FLOATS) multiply(FLOATS, some, depth, outputs, block, with, from, to);
        if (kind == HALF_WEIGHTS) multiply(HALF_WEIGHTS, some, depth, outputs, block, with, from, to);
        if (kind == PAIRS) multiply(PAIRS, some, depth, outputs, block, with, from, to);
    }
}

/* One output of FEW rows, of which `last` is the last that there is: it stands for those behind it, too. Number i of a row
   goes into partial sum i % SPREAD, and these are added up by halves. */
INLINE void dot(const int size, int64_t last, int64_t pitch, int64_t depth, int64_t outputs, const char *weight,
                float bias, const char *in, char *out) {
    const char *from[FEW];
    vec sum[FEW][SPREAD / LANES] = {0};
    for (int row = 0; row < FEW; row++) from[row] = in + least(row, last) * pitch * size;
    for (int64_t begin = 0; begin < depth; begin += SPREAD)
        for (int part = 0; part < SPREAD / LANES; part++) {
            int64_t at = (begin + part * LANES) * size;
            vec w = load(size, LANES, weight + at);
            for (int row = 0; row < FEW; row++) sum[row][part] += w * load(size, LANES, from[row] + at);
        }
    for (int row = 0; row < FEW; row++) {
        float partial[SPREAD];
        memcpy(partial, sum[row], sizeof partial);
        for (int half = SPREAD / 2; half; half /= 2)
            for (int i = 0; i < half; i++) partial[i] += partial[i + half];
        store(size, 1, all(partial[0] + bias), out + least(row, last) * outputs * size);
    }
}

/* The same for few outputs, of a depth that is a multiple of SPREAD; `weight` [outputs][depth]. Weights, rows and
   outputs have `size` bytes a number. */
void dots(int64_t size, int64_t rows, int64_t pitch, int64_t depth, int64_t outputs, const char *weight,
          const float *bias, const char *in, char *out, int64_t threads) {
#pragma omp parallel for schedule(static) num_threads(threads) if (rows * depth * outputs > SMALL)
    for (int64_t row = 0; row < rows; row += FEW)
        for (int64_t output = 0; output < outputs; output++) {
            const char *from = in + row * pitch * size, *w = weight + output * depth * size;
            char *to = out + (row * outputs + output) * size;
            if (size == 4)
                dot(4, rows - 1 - row, pitch, depth, outputs, w, bias[output], from, to);
            else
                dot(2, rows - 1 - row, pitch, depth, outputs, w, bias[output], from, to);
        }
}

/* Which of `size` entries of a codebook is nearest to each of up to ROWS rows x: the e with the largest x e - e e / 2,
   the first among equals. `weight` and `bias` hold e and -e e / 2 as in products. */
INLINE void search(int64_t rows, int64_t depth, int64_t size, const float *weight, float *bias, Rows in,
                   int64_t *codes) {
    vec score[ROWS][WIDE], best[ROWS];
    ints found[ROWS] = {0}; /* by each lane, whose entries are LANES apart */
    for (int64_t row = 0; row < rows; row++) best[row] = all(-__builtin_inff());
    for (int64_t first = 0; first < size; first += WIDE * LANES) {
        Rows with = {bias + first, 0}, to = {(float *)score, WIDE * LANES};
        add_all(FLOATS, rows, depth, weight + first * depth, in, with, to);
        for (int64_t row = 0; row < rows; row++)
            for (int part = 0; part < WIDE; part++) {
                ints is = score[row][part] > best[row], here = (int32_t)(first + part * LANES) - (ints){0};
                best[row] = where(is, score[row][part], best[row]);
                found[row] = (is & here) | (~is & found[row]);
            }
    }
    for (int64_t row = 0; row < rows; row++) {
        int winner = 0;
        for (int lane = 1; lane < LANES; lane++) {
            int is_first = found[row][lane] < found[row][winner]; /* lanes themselves are in order */
            if (best[row][lane] > best[row][winner] || (best[row][lane] == best[row][winner] && is_first))
                winner = lane;
        }
        codes[row] = found[row][winner] + winner;
    }
}

/* Residual vector quantization: `codes` [books][rows], and what each of them leaves of `residual` [rows][depth] for the
   next. `weight` as in products and `codebook` are [books][size][depth], `bias` [books][size]. */
void quantize(int64_t rows, int64_t depth, int64_t books, int64_t size, const float *weight, float *bias,
              const float *codebook, float *residual, int64_t *codes, int64_t threads) {
    int64_t shares = up(up(rows, ROWS), threads) * threads;
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t share = 0; share < shares; share++) {
        int64_t first = rows * share / shares, last = rows * (share + 1) / shares;
        Rows in = skip((Rows){residual, depth}, first);
        for (int64_t book = 0; book < books; book++) {
            int64_t *chosen = codes + book * rows;
            search(last - first, depth, size, weight + book * size * depth, bias + book * size, in, chosen + first);
            for (int64_t row = first; row < last; row++) {
                const float *entry = codebook + (book * size + chosen[row]) * depth;
                for (int64_t i = 0; i < depth; i++) residual[row * depth + i] -= entry[i];
            }
        }
    }
}

/* Every other frame goes through a thread's units backwards: it begins with the weights that are still in the cache. */
INLINE void steps(const int size, int64_t frames, int64_t rows, int64_t width, const char *weight, const char *heard,
                  char *hidden, float *cell, int64_t threads) {
    for (int64_t frame = 0; frame < frames; frame++) {
        char *before = hidden + frame * rows * width * size, *after = before + rows * width * size;
#pragma omp for schedule(static)
        for (int64_t part = 0; part < threads; part++) {
            int64_t first = width / LANES * part / threads, last = width / LANES * (part + 1) / threads - 1;
            for (int64_t done = 0; done <= last - first; done++) {
                int64_t unit = LANES * (frame % 2 ? last - done : first + done);
                for (int64_t row = 0; row < rows; row += CLIPS)
                    step(size, least(CLIPS, rows - row), width, weight + unit * width * GATES * size,
                         heard + ((frame * rows + row) * GATES * width + unit) * size, before + row * width * size,
                         cell + row * width + unit, after + (row * width + unit) * size);
            }
        }
    }
}

/* All steps of an LSTM layer over `rows` clips abreast. `weight` [width / LANES][width][GATES][LANES], `heard` [frames]
   [rows][GATES][width] (what the inputs and biases give), `hidden` [1 + frames][rows][width], of which the first frame
   is given, `cell` [rows][width], which is replaced. All but `cell` have `size` bytes a number; with two, for which it
   takes pairs, `weight` is [width / LANES][width / 2][GATES][LANES][2]. */
void lstm(int64_t size, int64_t frames, int64_t rows, int64_t width, const char *weight, const char *heard,
          char *hidden, float *cell, int64_t threads) {
#pragma omp parallel num_threads(threads)
    if (size == 2)
        steps(2, frames, rows, width, weight, heard, hidden, cell, threads);
    else
        steps(4, frames, rows, width, weight, heard, hidden, cell, threads);
}

/* One step, of which the products are done: `gates` [rows][GATES][width] and `hidden` [rows][width] have `size` bytes a
   number, `cell` [rows][width] is float and replaced. */
void lstm_say(int64_t size, int64_t rows, int64_t width, const char *gates, float *cell, char *hidden,
              int64_t threads) {
#pragma omp parallel for schedule(static) num_threads(threads) if (GATES * rows * width > SMALL)
    for (int64_t unit = 0; unit < width; unit += LANES)
        for (int64_t row = 0; row < rows; row++) {
            const char *from = gates + (row * GATES * width + unit) * size;
            int64_t at = row * width + unit;
            vec sum[GATES];
            for (int gate = 0; gate < GATES; gate++, from += width * size)
                sum[gate] = size == 4 ? load(4, LANES, from) : load(2, LANES, from);
            if (size == 4)
                say(4, sum, cell + at, hidden + at * size);
            else
                say(2, sum, cell + at, hidden + at * size);
        }
}

INLINE void elu_some(const int size, int64_t count, const char *in, char *out) {
    vec x = load(size, count, in);
    store(size, count, where(x < 0, exp_less_1(x), x), out);
}

INLINE void elu_part(const int size, int64_t count, const char *in, char *out) {
    int64_t whole = count / LANES * LANES;
    for (int64_t i = 0; i < whole; i += LANES) elu_some(size, LANES, in + i * size, out + i * size);
    elu_some(size, count - whole, in + whole * size, out + whole * size);
}

/* x, or e^x - 1 where x is below zero, of numbers of `size` bytes; `out` may be `in`. */
void elu(int64_t size, int64_t count, const char *in, char *out, int64_t threads) {
#pragma omp parallel for schedule(static) num_threads(threads) if (count > SMALL)
    for (int64_t i = 0; i < count; i += PART)
        if (size == 4)
            elu_part(4, least(PART, count - i), in + i * 4, out + i * 4);
        else
            elu_part(2, least(PART, count - i), in + i * 2, out + i * 2);
}

INLINE void snake_row(const int size, int64_t channels, const float *alpha, const float *inverse, const char *in,
                      char *out) {
    for (int64_t c = 0; c < channels; c += LANES) {
        vec x = load(size, LANES, in + c * size);
        vec wave = sine_squared(x * load(4, LANES, alpha + c));
        store(size, LANES, wave * load(4, LANES, inverse + c) + x, out + c * size);
    }
}

/* x + sin(alpha x)^2 * inverse of [rows][channels], with as many channels as fill whole registers; else as elu. */
void snake(int64_t size, int64_t rows, int64_t channels, const float *alpha, const float *inverse, const char *in,
           char *out, int64_t threads) {
#pragma omp parallel for schedule(static) num_threads(threads) if (rows * channels > SMALL)
    for (int64_t row = 0; row < rows; row++)
        if (size == 4)
            snake_row(4, channels, alpha, inverse, in + row * channels * 4, out + row * channels * 4);
        else
            snake_row(2, channels, alpha, inverse, in + row * channels * 2, out + row * channels * 2);
}

INLINE void add_moments(const int size, int64_t count, const char *in, vec *sum, vec *square) {
    vec x = load(size, count, in);
    *sum += x, *square += x * x;
}

/* Short sums are floats, and the sums of these doubles. */
INLINE void moments_part(const int size, int64_t count, const char *in, double *sums) {
    sums[0] = sums[1] = 0;
    for (int64_t begin = 0; begin < count; begin += CHUNK) {
        int64_t end = least(count, begin + CHUNK), whole = begin + (end - begin) / LANES * LANES;
        vec sum = {0}, square = {0};
        for (int64_t i = begin; i < whole; i += LANES) add_moments(size, LANES, in + i * size, &sum, &square);
        if (whole < end) add_moments(size, end - whole, in + whole * size, &sum, &square);
        for (int lane = 0; lane < LANES; lane++) sums[0] += sum[lane], sums[1] += square[lane];
    }
}

/* How many numbers `moments` adds up at once. */
int part(void) { return PART; }

/* The sums of every PART numbers and of their squares, `sums` [parts][2]. */
void moments(int64_t size, int64_t count, const char *in, double *sums, int64_t threads) {
#pragma omp parallel for schedule(static) num_threads(threads) if (count > SMALL)
    for (int64_t part = 0; part < up(count, PART); part++) {
        const char *from = in + part * PART * size;
        int64_t some = least(PART, count - part * PART);
        if (size == 4)
            moments_part(4, some, from, sums + 2 * part);
        else
            moments_part(2, some, from, sums + 2 * part);
    }
}

INLINE void rescale_some(const int size, int64_t count, const float *gain, const float *shift, char *signal) {
    vec x = load(size, count, signal);
    store(size, count, x * load(4, LANES, gain) + load(4, LANES, shift), signal);
}

INLINE void rescale_row(const int size, int64_t count, const float *gain, const float *shift, char *row) {
    int64_t whole = count / LANES * LANES;
    for (int64_t i = 0; i < whole; i += LANES) rescale_some(size, LANES, gain + i, shift + i, row + i * size);
    if (whole < count) rescale_some(size, count - whole, gain + whole, shift + whole, row + whole * size);
}

/* x * gain + shift in place of `count` numbers in rows of `width`, of which the last may be cut short; whole registers
   fill a row. */
void rescale(int64_t size, int64_t count, int64_t width, const float *gain, const float *shift, char *signal,
             int64_t threads) {
#pragma omp parallel for schedule(static) num_threads(threads) if (count > SMALL)
    for (int64_t begin = 0; begin < count; begin += width)
        if (size == 4)
            rescale_row(4, least(width, count - begin), gain, shift, signal + begin * 4);
        else
            rescale_row(2, least(width, count - begin), gain, shift, signal + begin * 2);
}
