/* Products of many rows with weights that are packed for them, and of few outputs. */

#include "products.h"

enum { READ = 64, KEPT = 1 << 17 }; /* numbers: packed of a row at once; weights that a core's cache keeps */
enum { NEAR = 1 << 18 };            /* pairs: by tiles, rows that a core's cache keeps beside weights */
enum { SPREAD = 16, FEW = 4 };      /* where outputs fill no registers: partial sums of one, and rows at once */

int lanes(void) { return LANES; }
int block(void) { return WIDE * LANES; }
int spread(void) { return SPREAD; }
int has_pairs(void) { return HAS_PAIRS; }
int has_matrix(void) { return HAS_MATRIX; }

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
INLINE void multiply(const int kind, int64_t rows, int64_t depth, int64_t outputs, const void *weight, const void *next,
                     Rows bias, Rows in, char *out) {
    if (kind != PAIRS) return add_all(kind, rows, depth, weight, next, in, bias, (Rows){(float *)out, outputs});
    vec made[ROWS][WIDE];
    add_all(kind, rows, depth, weight, next, in, bias, (Rows){(float *)made, WIDE * LANES});
    for (int64_t row = 0; row < rows; row++)
        for (int64_t part = 0; part < WIDE; part++)
            store(2, LANES, made[row][part], out + (row * outputs + part * LANES) * 2);
}

/* out = W x + bias, [rows][outputs]. Rows of `in`, of `depth` numbers or pairs, begin `pitch` apart, so that they may be
   the overlapping windows of a convolution. Whole blocks of outputs: a multiple of WIDE * LANES. By tiles if it is
   `tiled`, of pairs in a depth that is a multiple of EDGE. */
void products(int64_t kind, int64_t tiled, int64_t rows, int64_t pitch, int64_t depth, int64_t outputs,
              const void *weight, float *bias, void *in, char *out, int64_t threads) {
    if (rows == 0) return;
    int64_t tile = tiled ? EDGE : TILE, many = tiled ? TILED_ROWS : ROWS;
    int64_t blocks = outputs / WIDE / LANES, shares = most(up(rows, many), up(threads, blocks));
    if (tiled) shares = up(up(shares * blocks, threads) * threads, blocks); /* large: each thread gets as many */
    int64_t share = up(rows, shares * tile) * tile; /* rows, at most `many` */
    shares = up(rows, share);
    /* In turn comes first what finds the other still in the cache: the blocks of weights, if it keeps them all or, by
       tiles, the share, or else the shares of rows. */
    int keeps = outputs * depth <= KEPT || (tiled && share * least(pitch, depth) + depth <= NEAR);
#pragma omp parallel num_threads(threads)
    {
#pragma omp for schedule(static)
        for (int64_t part = 0; part < shares * blocks; part++) {
            int64_t row = share * (keeps ? part / blocks : part % shares), some = least(share, rows - row);
            int64_t output = WIDE * LANES * (keeps ? part % blocks : part / shares);
            Rows from = skip((Rows){in, pitch}, row), with = {bias + output, 0};
            char *to = out + (row * outputs + output) * (kind == PAIRS ? 2 : 4);
            const void *block = behind(kind, weight, output * depth), *next = 0;
            /* Weights come from afar if they are read for the first time, or are more than are kept until the next. */
            if (!keeps && (part % shares == 0 || WIDE * LANES * depth > KEPT))
                next = behind(kind, weight, (part + 1) / shares * WIDE * LANES * depth);
            if (kind == FLOATS) multiply(FLOATS, some, depth, outputs, block, next, with, from, to);
            if (kind == HALF_WEIGHTS) multiply(HALF_WEIGHTS, some, depth, outputs, block, next, with, from, to);
            if (kind == PAIRS && !tiled) multiply(PAIRS, some, depth, outputs, block, next, with, from, to);
            if (tiled) multiply_by_tiles(2, some, depth, outputs, block, with.at, from, to);
        }
        if (tiled) tiles_end(); /* oneDNN has tiles of its own on the same threads */
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
