/* Packing of weights, and products of rows with them: the linear layers, and convolutions as products of windows. */

#include "products.h"

enum { READ = 64 };                                /* numbers of a weight row that `pack` reads at a time */
enum { KEPT = 1 << 17, KEPT_PAIRS = 1 << 18 };     /* weights, or with AMX rows, that the second cache keeps */
enum { AMX_ROWS = 512, AMX_CHUNK = 128 };          /* with AMX: rows at a time, pairs whose weights stay in the cache */
enum { GEMV_DEPTH = 16, GEMV_ROWS = 4 };           /* partial sums of an output, and rows at a time */

/* What Python asks of a build. */
int lanes(void) { return LANES; }
int block(void) { return BLOCK; }
int has_pairs(void) { return HAS_PAIRS; }
int has_amx(void) { return HAS_AMX; }
int gemv_depth(void) { return GEMV_DEPTH; }

/* Where output number `output` lies, counted over `dims` dimensions with strides. */
static int64_t offset_of(int64_t output, int64_t dims, const int64_t *sizes, const int64_t *strides) {
    int64_t at = 0;
    for (int64_t dim = dims - 1; dim >= 0; output /= sizes[dim--]) at += output % sizes[dim] * strides[dim];
    return at;
}

/* Weights of any memory layout, times gains per output and per input if given (weight norm) → blocks
   [taps][inputs][registers][LANES], float32. An output's inputs are `stride` apart, its taps `tap_stride`. */
void pack(int64_t dims, const int64_t *sizes, const int64_t *strides, int64_t inputs, int64_t stride, int64_t taps,
          int64_t tap_stride, const float *weight, const float *output_gain, const float *input_gain, int64_t outputs,
          float *packed, int64_t threads) {
    int64_t depth = taps * inputs, some = larger(1, READ / taps);
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t block = 0; block < ceil_div(outputs, BLOCK); block++) {
        int64_t wide = registers_for(smaller(BLOCK, outputs - block * BLOCK));
        float *to = packed + block * BLOCK * depth;
        for (int64_t begin = 0; begin < inputs; begin += some)
            for (int64_t part = 0; part < wide; part++) {
                int64_t first = block * BLOCK + part * LANES, count = smaller(LANES, larger(0, outputs - first));
                const float *from[LANES];
                for (int lane = 0; lane < count; lane++) from[lane] = weight + offset_of(first + lane, dims, sizes, strides);
                vec gain = output_gain && count ? load(4, count, output_gain + first) : broadcast(1);
                for (int64_t i = begin; i < smaller(begin + some, inputs); i++)
                    for (int64_t tap = 0; tap < taps; tap++) {
                        vec column = {0};
                        for (int lane = 0; lane < count; lane++) column[lane] = from[lane][i * stride + tap * tap_stride];
                        column = column * gain * (input_gain ? input_gain[i] : 1);
                        store(4, LANES, column, to + ((tap * inputs + i) * wide + part) * LANES);
                    }
            }
    }
}

/* Writes the first `count` outputs of each row of a block, at `out` [rows][outputs]. */
INLINE void write_rows(const int size, const int wide, int64_t rows, int64_t outputs, int64_t count, int64_t pitch,
                       const vec *made, const vec *bias, char *out) {
    for (int64_t row = 0; row < rows; row++, made += pitch, out += outputs * size)
        for (int64_t part = 0; part < wide; part++) {
            vec x = bias ? made[part] + bias[part] : made[part];
            if (count == BLOCK)
                store(size, LANES, x, out + part * LANES * size);
            else if (count > part * LANES)
                store(size, smaller(LANES, count - part * LANES), x, out + part * LANES * size);
        }
}

/* `count` outputs, one block, of any number of rows. */
INLINE void multiply(const int kind, const int wide, int64_t rows, int64_t depth, int64_t outputs, int64_t count,
                     const void *weight, const void *next, const vec *bias, Rows in, char *out) {
    const int size = kind == PAIRS ? 2 : 4;
    Rows with = {(float *)bias, 0};
    vec made[PANEL_ROWS][REGISTERS];
    for (int64_t row = 0; row < rows; row += PANEL_ROWS) {
        int64_t some = smaller(PANEL_ROWS, rows - row);
        char *to = out + row * outputs * size;
        int direct = kind != PAIRS && count == BLOCK;
        Rows sums = direct ? (Rows){(float *)to, outputs} : (Rows){(float *)made, BLOCK};
        multiply_block(kind, wide, some, depth, weight, next, skip(in, row), with, sums);
        if (!direct) write_rows(size, wide, some, outputs, count, REGISTERS, *made, 0, to);
    }
}

/* The same by AMX, of up to AMX_ROWS rows of pairs. A chunk of weights stays in the cache for all rows; if the rows
   fill one tile only, there is no need of chunks. The last tile of rows overlaps the one before instead of being
   smaller: some rows are computed twice. */
INLINE void multiply_amx(const int wide, int64_t rows, int64_t depth, int64_t outputs, int64_t count,
                         const float *weight, const vec *bias, Rows in, char *out) {
    vec sum[AMX_ROWS * REGISTERS], last[TILE * REGISTERS];
    int64_t many = smaller(TILE, rows), chunk = rows > TILE ? AMX_CHUNK : depth;
    tiles_begin(many);
    for (int64_t begin = 0; begin < depth; begin += chunk) {
        int64_t some = smaller(chunk, depth - begin);
        int ends = begin + some == depth;
        for (int64_t row = 0; row < rows; row += TILE) {
            int64_t at = smaller(row, rows - many), following = smaller(row + TILE, rows - many);
            Rows from = {skip(in, at).at + begin, in.pitch};
            float *next = row + TILE < rows ? skip(in, following).at + begin : in.at + begin + some;
            multiply_tiles(wide, some, weight + begin * wide * LANES, from, rows > TILE ? next : 0,
                           begin ? sum + row * wide : 0, ends ? last : sum + row * wide);
            if (ends) write_rows(2, wide, many, outputs, count, wide, last, bias, out + at * outputs * 2);
        }
    }
}

INLINE void multiply_any(const int kind, int tiled, int64_t wide, int64_t rows, int64_t depth, int64_t outputs,
                         int64_t count, const void *weight, const void *next, const vec *bias, Rows in, char *out) {
    if (kind == PAIRS && tiled && wide * LANES >= TILE) {
        if (wide == 4) multiply_amx(4, rows, depth, outputs, count, weight, bias, in, out);
        if (wide == 2) multiply_amx(2, rows, depth, outputs, count, weight, bias, in, out);
        if (wide == 1 && BLOCK >= 4 * TILE) multiply_amx(1, rows, depth, outputs, count, weight, bias, in, out);
        return;
    }
    if (wide == 4) multiply(kind, 4, rows, depth, outputs, count, weight, next, bias, in, out);
    if (wide == 2) multiply(kind, 2, rows, depth, outputs, count, weight, next, bias, in, out);
    if (wide == 1) multiply(kind, 1, rows, depth, outputs, count, weight, next, bias, in, out);
}

/* out = W x + bias, [rows][outputs], float32, or bfloat16 for PAIRS. Rows of `in` begin `pitch` numbers or pairs apart
   and have `depth` of them, so they may be the overlapping windows of a convolution. `tiled` (PAIRS in a depth that is
   a multiple of TILE): by AMX. */
void products(int64_t kind, int64_t tiled, int64_t rows, int64_t pitch, int64_t depth, int64_t outputs,
              const void *weight, const float *bias, void *in, char *out, int64_t threads) {
    if (rows == 0) return;
    int64_t step = tiled ? TILE : BLOCK_ROWS, many = tiled ? AMX_ROWS : PANEL_ROWS;
    int64_t blocks = ceil_div(outputs, BLOCK), shares = larger(ceil_div(rows, many), ceil_div(threads, blocks));
    if (tiled) shares = ceil_div(ceil_div(shares * blocks, threads) * threads, blocks); /* as many for each thread */
    int64_t share = ceil_div(rows, shares * step) * step; /* rows, at most `many` */
    shares = ceil_div(rows, share);
    /* The inner loop goes over what finds the other operand in the cache: over blocks of weights if the cache keeps
       them all (or, with AMX, keeps the share of rows), else over shares of rows. */
    int keeps = outputs * depth <= KEPT || (tiled && share * smaller(pitch, depth) + depth <= KEPT_PAIRS);
#pragma omp parallel num_threads(threads)
    {
#pragma omp for schedule(static)
        for (int64_t part = 0; part < shares * blocks; part++) {
            int64_t row = share * (keeps ? part / blocks : part % shares), some = smaller(share, rows - row);
            int64_t output = BLOCK * (keeps ? part % blocks : part / shares);
            int64_t count = smaller(BLOCK, outputs - output), wide = registers_for(count);
            Rows from = skip((Rows){in, pitch}, row);
            char *to = out + (row * outputs + output) * (kind == PAIRS ? 2 : 4);
            const void *first = weights_at(kind, weight, output * depth), *next = 0;
            /* Weights are not in the cache if they are read for the first time, or if it keeps less than a block. */
            if (!keeps && (part % shares == 0 || BLOCK * depth > KEPT))
                next = weights_at(kind, weight, (part + 1) / shares * BLOCK * depth);
            vec with[REGISTERS] = {0};
            memcpy(with, bias + output, count * 4);
            if (kind == FLOATS) multiply_any(FLOATS, 0, wide, some, depth, outputs, count, first, next, with, from, to);
            if (kind == HALF_WEIGHTS)
                multiply_any(HALF_WEIGHTS, 0, wide, some, depth, outputs, count, first, next, with, from, to);
            if (kind == PAIRS)
                multiply_any(PAIRS, tiled, wide, some, depth, outputs, count, first, next, with, from, to);
        }
        if (tiled) tiles_end(); /* other libraries configure tiles on the same threads */
    }
}

/* One output of GEMV_ROWS rows; rows behind `last` repeat it. Product i of a row goes into partial sum i % GEMV_DEPTH;
   these are added up by halves. */
INLINE void dot(const int size, int64_t last, int64_t pitch, int64_t depth, int64_t outputs, const char *weight,
                float bias, const char *in, char *out) {
    const char *from[GEMV_ROWS];
    vec sum[GEMV_ROWS][GEMV_DEPTH / LANES] = {0};
    for (int row = 0; row < GEMV_ROWS; row++) from[row] = in + smaller(row, last) * pitch * size;
    for (int64_t begin = 0; begin < depth; begin += GEMV_DEPTH)
        for (int part = 0; part < GEMV_DEPTH / LANES; part++) {
            int64_t at = (begin + part * LANES) * size;
            vec w = load(size, LANES, weight + at);
            for (int row = 0; row < GEMV_ROWS; row++) sum[row][part] += w * load(size, LANES, from[row] + at);
        }
    for (int row = 0; row < GEMV_ROWS; row++) {
        float partial[GEMV_DEPTH];
        memcpy(partial, sum[row], sizeof partial);
        for (int half = GEMV_DEPTH / 2; half; half /= 2)
            for (int i = 0; i < half; i++) partial[i] += partial[i + half];
        store(size, 1, broadcast(partial[0] + bias), out + smaller(row, last) * outputs * size);
    }
}

/* `products` for one or two outputs, where a block would be mostly padding: vectors lie along the depth, which is a
   multiple of GEMV_DEPTH. `weight` [outputs][depth] is not packed; weights, rows and outputs have `size` bytes a number. */
void gemv(int64_t size, int64_t rows, int64_t pitch, int64_t depth, int64_t outputs, const char *weight,
          const float *bias, const char *in, char *out, int64_t threads) {
#pragma omp parallel for schedule(static) num_threads(threads) if (rows * depth * outputs > SMALL)
    for (int64_t row = 0; row < rows; row += GEMV_ROWS)
        for (int64_t output = 0; output < outputs; output++) {
            const char *from = in + row * pitch * size, *w = weight + output * depth * size;
            char *to = out + (row * outputs + output) * size;
            if (size == 4)
                dot(4, rows - 1 - row, pitch, depth, outputs, w, bias[output], from, to);
            else
                dot(2, rows - 1 - row, pitch, depth, outputs, w, bias[output], from, to);
        }
}
