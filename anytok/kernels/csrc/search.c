/* The search of residual vector quantization (SoundStream, arXiv 2107.03312, section III-C). */

#include "products.h"

/* For each of up to PANEL_ROWS rows x the entry e of a codebook with the least |x - e|, which is the largest
   x e - e e / 2; the first among equals. `weight` and `bias` hold e and -e e / 2 of `size` entries, in whole blocks. */
INLINE void nearest_entries(int64_t rows, int64_t depth, int64_t size, const float *weight, float *bias, Rows in,
                            int64_t *codes) {
    vec score[PANEL_ROWS][REGISTERS], best[PANEL_ROWS];
    ints found[PANEL_ROWS] = {0}; /* of each lane, whose entries are LANES apart: the first of the best entry's register */
    for (int64_t row = 0; row < rows; row++) best[row] = broadcast(-__builtin_inff());
    for (int64_t first = 0; first < size; first += BLOCK) {
        Rows with = {bias + first, 0}, to = {(float *)score, BLOCK};
        const float *block = weight + first * depth;
        multiply_block(FLOATS, REGISTERS, rows, depth, block, block + BLOCK * depth, in, with, to);
        for (int64_t row = 0; row < rows; row++)
            for (int part = 0; part < REGISTERS; part++) {
                ints is = score[row][part] > best[row], here = (int32_t)(first + part * LANES) - (ints){0};
                best[row] = blend(is, score[row][part], best[row]);
                found[row] = (is & here) | (~is & found[row]);
            }
    }
    for (int64_t row = 0; row < rows; row++) {
        int winner = 0;
        for (int lane = 1; lane < LANES; lane++) {
            int is_first = found[row][lane] < found[row][winner]; /* lanes of one register are in order already */
            if (best[row][lane] > best[row][winner] || (best[row][lane] == best[row][winner] && is_first))
                winner = lane;
        }
        codes[row] = found[row][winner] + winner;
    }
}

/* `codes` [books][rows], and what each codebook leaves of `residual` [rows][depth] for the next. Codebooks
   [books][size][depth] come packed as products take them (`weight`) and plain; `bias` is [books][size]. */
void quantize(int64_t rows, int64_t depth, int64_t books, int64_t size, const float *weight, float *bias,
              const float *codebook, float *residual, int64_t *codes, int64_t threads) {
    int64_t shares = ceil_div(ceil_div(rows, PANEL_ROWS), threads) * threads;
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t share = 0; share < shares; share++) {
        int64_t first = rows * share / shares, last = rows * (share + 1) / shares;
        Rows in = skip((Rows){residual, depth}, first);
        for (int64_t book = 0; book < books && first < last; book++) {
            int64_t *chosen = codes + book * rows, entries = book * size;
            const float *entry = codebook + entries * depth;
            nearest_entries(last - first, depth, size, weight + entries * depth, bias + entries, in, chosen + first);
            for (int64_t row = first; row < last; row++)
                for (int64_t i = 0; i < depth; i++) residual[row * depth + i] -= entry[chosen[row] * depth + i];
        }
    }
}
