/* Residual vector quantization. */

#include "products.h"

/* Which of `size` entries of a codebook is nearest to each of up to ROWS rows x: the e with the largest x e - e e / 2,
   the first among equals. `weight` and `bias` hold e and -e e / 2 as in products. */
INLINE void search(int64_t rows, int64_t depth, int64_t size, const float *weight, float *bias, Rows in,
                   int64_t *codes) {
    vec score[ROWS][WIDE], best[ROWS];
    ints found[ROWS] = {0}; /* by each lane, whose entries are LANES apart */
    for (int64_t row = 0; row < rows; row++) best[row] = all(-__builtin_inff());
    for (int64_t first = 0; first < size; first += WIDE * LANES) {
        Rows with = {bias + first, 0}, to = {(float *)score, WIDE * LANES};
        const float *block = weight + first * depth;
        add_all(FLOATS, rows, depth, block, block + WIDE * LANES * depth, in, with, to);
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
