/* The steps of an LSTM. */

#include "products.h"

enum { GATES = WIDE, CLIPS = 16 }; /* side by side of one unit, and clips at once: these are the rows */

/* The new states of LANES units, from their gates in torch's order. */
INLINE void say(const int size, const vec *gates, float *cell, void *hidden) {
    vec entry = sigmoid(gates[0]), forget = sigmoid(gates[1]), candidate = tanh_(gates[2]), output = sigmoid(gates[3]);
    vec heard = entry * candidate;
    vec now = forget * load(4, LANES, cell) + heard;
    store(4, LANES, now, cell);
    store(size, LANES, output * tanh_(now), hidden);
}

/* LANES units of up to CLIPS clips, one frame on. `weight` [width][GATES][LANES], after which come those at `next`, and
   their `scale` [GATES][LANES] if they are short; `heard` [rows][GATES][width] and all others [rows][width], from the
   units' first on. All but `cell` have `size` bytes a number. */
INLINE void step(const int kind, const int size, const int tiled, int64_t rows, int64_t width, const void *weight,
                 const void *next, const float *scale, const char *heard, void *before, float *cell, char *after) {
    vec sum[CLIPS][GATES], zeros[GATES] = {0};
    int64_t depth = width * size / 4;
    Rows in = {before, depth}, with = {(float *)zeros, 0}, to = {(float *)sum, GATES * LANES};
    if (tiled)
        add_by_tiles(depth, weight, in, 0, 0, *sum);
    else
        add_all(kind, rows, depth, weight, next, in, with, to);
    for (int64_t row = 0; row < rows; row++) {
        for (int gate = 0; gate < GATES; gate++, heard += width * size) {
            if (kind == SHORT_WEIGHTS) sum[row][gate] *= load(4, LANES, scale + gate * LANES);
            sum[row][gate] += load(size, LANES, heard);
        }
        say(size, sum[row], cell + row * width, after + row * width * size);
    }
}

/* Every other frame goes through a thread's units backwards: it begins with the weights that are still in the cache. */
INLINE void steps(const int kind, const int tiled, int64_t frames, int64_t rows, int64_t width, const void *weight,
                  const float *scale, const char *heard, char *hidden, float *cell, int64_t threads) {
    const int size = kind == PAIRS ? 2 : 4;
    int64_t begun = 0, depth = width * size / 4; /* rows of tiles, numbers or pairs */
    for (int64_t frame = 0; frame < frames; frame++) {
        char *before = hidden + frame * rows * width * size, *after = before + rows * width * size;
#pragma omp for schedule(static)
        for (int64_t part = 0; part < threads; part++) {
            int64_t first = width / LANES * part / threads, last = width / LANES * (part + 1) / threads - 1;
            for (int64_t done = 0; done <= last - first; done++) {
                int64_t unit = LANES * (frame % 2 ? last - done : first + done), next = frame % 2 ? -LANES : LANES;
                if (done == last - first) next = 0; /* the next frame begins with these */
                const void *block = behind(kind, weight, unit * depth * GATES);
                for (int64_t row = 0; row < rows; row += CLIPS) {
                    int64_t some = least(CLIPS, rows - row);
                    if (tiled && some != begun) tiles_begin(begun = some);
                    step(kind, size, tiled, some, width, block, behind(kind, block, next * depth * GATES),
                         scale + unit * GATES, heard + ((frame * rows + row) * GATES * width + unit) * size,
                         before + row * width * size, cell + row * width + unit, after + (row * width + unit) * size);
                }
            }
        }
    }
    if (tiled) tiles_end(); /* oneDNN has tiles of its own on the same threads */
}

/* All steps of an LSTM layer over `rows` clips abreast. `weight` [width / LANES][width][GATES][LANES], `heard` [frames]
   [rows][GATES][width] (what the inputs and biases give), `hidden` [1 + frames][rows][width], of which the first frame
   is given, `cell` [rows][width], which is replaced. `kind` is FLOATS; PAIRS, of which all but `cell` consist, and
   `weight` is [width / LANES][width / 2][GATES][LANES][2], by tiles if it is `tiled`, of a width that is a multiple of
   2 EDGE; or SHORT_WEIGHTS, as `shorten` makes them with their `scale`, for up to `few` clips. */
void lstm(int64_t kind, int64_t tiled, int64_t frames, int64_t rows, int64_t width, const void *weight,
          const float *scale, const char *heard, char *hidden, float *cell, int64_t threads) {
#pragma omp parallel num_threads(threads)
    if (kind == FLOATS)
        steps(FLOATS, 0, frames, rows, width, weight, scale, heard, hidden, cell, threads);
    else if (kind == SHORT_WEIGHTS)
        steps(SHORT_WEIGHTS, 0, frames, rows, width, weight, scale, heard, hidden, cell, threads);
    else if (tiled)
        steps(PAIRS, 1, frames, rows, width, weight, scale, heard, hidden, cell, threads);
    else
        steps(PAIRS, 0, frames, rows, width, weight, scale, heard, hidden, cell, threads);
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
