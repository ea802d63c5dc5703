/* The steps of an LSTM layer (Hochreiter and Schmidhuber 1997, with a forget gate). */

#include "products.h"

enum { GATES = REGISTERS }; /* of one unit, side by side; in torch's order: input, forget, cell, output */
enum { CLIPS = 16 };        /* rows of a step that share one reading of the weights */

/* c' = f c + i g and h' = o tanh(c') for LANES units. */
INLINE void update_cell(const int size, const vec *gates, float *cell, void *hidden) {
    vec i = sigmoid(gates[0]), f = sigmoid(gates[1]), g = tanh_(gates[2]), o = sigmoid(gates[3]);
    vec added = i * g;
    vec now = f * load(4, LANES, cell) + added;
    store(4, LANES, now, cell);
    store(size, LANES, o * tanh_(now), hidden);
}

/* One step of LANES units of up to CLIPS clips. `weight` [width][GATES][LANES], behind which those at `next` are needed;
   `inputs` [rows][GATES][width] and all others [rows][width], at the units' first column. All but `cell` have `size`
   bytes a number. `scale` [GATES][LANES] of INT24_WEIGHTS. */
INLINE void step(const int kind, const int tiled, int64_t rows, int64_t width, const void *weight, const void *next,
                 const float *scale, const char *inputs, void *before, float *cell, char *after) {
    const int size = kind == PAIRS ? 2 : 4;
    vec sum[CLIPS][GATES], zeros[GATES] = {0};
    int64_t depth = width * size / 4;
    Rows in = {before, depth}, with = {(float *)zeros, 0}, to = {(float *)sum, GATES * LANES};
    if (tiled)
        multiply_tiles(REGISTERS, depth, weight, in, 0, 0, *sum);
    else
        multiply_block(kind, REGISTERS, rows, depth, weight, next, in, with, to);
    for (int64_t row = 0; row < rows; row++) {
        for (int gate = 0; gate < GATES; gate++, inputs += width * size) {
            if (kind == INT24_WEIGHTS) sum[row][gate] *= load(4, LANES, scale + gate * LANES);
            sum[row][gate] += load(size, LANES, inputs);
        }
        update_cell(size, sum[row], cell + row * width, after + row * width * size);
    }
}

/* All steps. Every other one goes through a thread's units backwards: it begins with the weights still in the cache. */
INLINE void steps(const int kind, const int tiled, int64_t frames, int64_t rows, int64_t width, const void *weight,
                  const float *scale, const char *inputs, char *hidden, float *cell, int64_t threads) {
    const int size = kind == PAIRS ? 2 : 4;
    int64_t configured = 0, depth = width * size / 4;
    for (int64_t frame = 0; frame < frames; frame++) {
        char *before = hidden + frame * rows * width * size, *after = before + rows * width * size;
#pragma omp for schedule(static)
        for (int64_t part = 0; part < threads; part++) {
            int64_t first = width / LANES * part / threads, last = width / LANES * (part + 1) / threads - 1;
            for (int64_t done = 0; done <= last - first; done++) {
                int64_t unit = LANES * (frame % 2 ? last - done : first + done), next = frame % 2 ? -LANES : LANES;
                if (done == last - first) next = 0; /* the next frame begins with these */
                const void *block = weights_at(kind, weight, unit * depth * GATES);
                for (int64_t row = 0; row < rows; row += CLIPS) {
                    int64_t some = smaller(CLIPS, rows - row);
                    if (tiled && some != configured) tiles_begin(configured = some);
                    step(kind, tiled, some, width, block, weights_at(kind, block, next * depth * GATES),
                         scale + unit * GATES, inputs + ((frame * rows + row) * GATES * width + unit) * size,
                         before + row * width * size, cell + row * width + unit, after + (row * width + unit) * size);
                }
            }
        }
    }
    if (tiled) tiles_end(); /* other libraries configure tiles on the same threads */
}

/* `inputs` [frames][rows][GATES][width] are the input projections with biases; `hidden` [1 + frames][rows][width], whose
   first frame is given; `cell` [rows][width] is replaced; `weight` [width / LANES][width][GATES][LANES] are the
   recurrent weights. `kind` is FLOATS; or PAIRS: all but `cell` are bfloat16, `weight` [width / LANES][width / 2][GATES]
   [LANES][2]. `tiled` (PAIRS, a width that is a multiple of 2 TILE): by AMX. Or INT24_WEIGHTS with their `scale`, for up
   to BLOCK_ROWS rows. */
void lstm(int64_t kind, int64_t tiled, int64_t frames, int64_t rows, int64_t width, const void *weight,
          const float *scale, const char *inputs, char *hidden, float *cell, int64_t threads) {
#pragma omp parallel num_threads(threads)
    if (kind == FLOATS)
        steps(FLOATS, 0, frames, rows, width, weight, scale, inputs, hidden, cell, threads);
    else if (kind == INT24_WEIGHTS)
        steps(INT24_WEIGHTS, 0, frames, rows, width, weight, scale, inputs, hidden, cell, threads);
    else if (tiled)
        steps(PAIRS, 1, frames, rows, width, weight, scale, inputs, hidden, cell, threads);
    else
        steps(PAIRS, 0, frames, rows, width, weight, scale, inputs, hidden, cell, threads);
}
