/* Residual vector quantization. */

#include "products.h"

enum { ABREAST = 8 }; /* sums of one entry side by side */

/* How wrong a score in bfloat16 can be, of |x| |e|: two roundings, 2^-9 each, and the sums; of |e|^2, the bias; and
   beside both, numbers so small that matrix units take them for zero. */
static const float WRONG = 0x1.2p-8f, SUMMED = 0x1p-16f, LEAST = 0x1p-100f;

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

/* What `search` compares, of one entry, summed in the same order; its chunks side by side. Of numbers that are no
   vectors GCC may make two roundings of a * b + c. */
static float score_of(int64_t depth, const float *entry, const float *x, float bias) {
    for (int64_t begin = 0; begin < depth; begin += ABREAST * CHUNK) {
        float sum[ABREAST] = {0};
        int64_t chunks = least(ABREAST, up(depth - begin, CHUNK));
        if (begin + ABREAST * CHUNK <= depth)
            for (int64_t k = begin; k < begin + CHUNK; k++)
#pragma GCC unroll 8
                for (int i = 0; i < ABREAST; i++) sum[i] = __builtin_fmaf(entry[k + i * CHUNK], x[k + i * CHUNK], sum[i]);
        else
            for (int64_t k = begin; k < depth; k++) {
                float *of = sum + (k - begin) / CHUNK;
                *of = __builtin_fmaf(entry[k], x[k], *of);
            }
        for (int64_t i = 0; i < chunks; i++) bias += sum[i];
    }
    return bias;
}

/* Rounds rows to bfloat16. */
INLINE void round_rows(int64_t rows, int64_t depth, Rows in, uint16_t *out) {
    for (int64_t row = 0; row < rows; row++)
        for (int64_t i = 0; i < depth; i += LANES)
            store(2, LANES, load(4, LANES, skip(in, row).at + i), out + row * depth + i);
}

INLINE float length_of(int64_t depth, const float *x) {
    vec square = {0};
    for (int64_t i = 0; i < depth; i += LANES) square += load(4, LANES, x + i) * load(4, LANES, x + i);
    float sum = 0;
    for (int lane = 0; lane < LANES; lane++) sum += square[lane];
    return _mm_cvtss_f32(_mm_sqrt_ss(_mm_set_ss(sum)));
}

INLINE float largest(int64_t count, const float *score) {
    vec best = all(-__builtin_inff());
    for (int64_t i = 0; i < count; i += LANES) {
        vec some = load(4, LANES, score + i);
        best = where(some > best, some, best);
    }
    float most = best[0];
    for (int lane = 1; lane < LANES; lane++) most = best[lane] > most ? best[lane] : most;
    return most;
}

/* The same search by matrix units. `near` holds the entries in bfloat16, as in products, and none is longer than
   `longest`. By how much bfloat16 can be wrong is known; so few entries are left that may be nearest, and these are
   compared as in `search`: the codes are the same. */
INLINE void search_by_tiles(int64_t rows, int64_t depth, int64_t size, const float *near, const float *bias,
                            float longest, const float *codebook, Rows in, int64_t *codes) {
    uint16_t rounded[ROWS][depth];
    float score[ROWS][size];
    round_rows(rows, depth, in, *rounded);
    for (int64_t first = 0; first < size; first += WIDE * LANES)
        multiply_by_tiles(4, rows, depth / 2, size, near + first * depth / 2, bias + first,
                          (Rows){(float *)rounded, depth / 2}, (char *)(*score + first));
    for (int64_t row = 0; row < rows; row++) {
        const float *x = skip(in, row).at;
        float wrong = (WRONG * length_of(depth, x) + SUMMED * longest) * longest + LEAST;
        float limit = largest(size, score[row]) - 2 * wrong, winner = -__builtin_inff();
        codes[row] = 0;
        for (int64_t i = 0; i < size; i += LANES) {
            ints may = ~(load(4, LANES, score[row] + i) < limit); /* all, if what is compared is no number */
            if (!any(may)) continue;
            for (int lane = 0; lane < LANES; lane++) {
                if (!may[lane]) continue;
                float exact = score_of(depth, codebook + (i + lane) * depth, x, bias[i + lane]);
                if (exact > winner) winner = exact, codes[row] = i + lane;
            }
        }
    }
}

/* Residual vector quantization: `codes` [books][rows], and what each of them leaves of `residual` [rows][depth] for the
   next. `weight` as in products and `codebook` are [books][size][depth], `bias` [books][size]. If it is `tiled`,
   `weight` is in bfloat16, as `search_by_tiles` takes it with the `longest` of each book. */
void quantize(int64_t tiled, int64_t rows, int64_t depth, int64_t books, int64_t size, const void *weight, float *bias,
              const float *longest, const float *codebook, float *residual, int64_t *codes, int64_t threads) {
    int64_t shares = up(up(rows, ROWS), threads) * threads;
#pragma omp parallel num_threads(threads)
    {
#pragma omp for schedule(static)
        for (int64_t share = 0; share < shares; share++) {
            int64_t first = rows * share / shares, last = rows * (share + 1) / shares;
            Rows in = skip((Rows){residual, depth}, first);
            for (int64_t book = 0; book < books && first < last; book++) {
                int64_t *chosen = codes + book * rows, entries = book * size;
                const float *entry = codebook + entries * depth;
                const void *block = (const char *)weight + entries * depth * (tiled ? 2 : 4);
                if (tiled)
                    search_by_tiles(last - first, depth, size, block, bias + entries, longest[book], entry, in,
                                    chosen + first);
                else
                    search(last - first, depth, size, block, bias + entries, in, chosen + first);
                for (int64_t row = first; row < last; row++)
                    for (int64_t i = 0; i < depth; i++)
                        residual[row * depth + i] -= entry[chosen[row] * depth + i];
            }
        }
        if (tiled) tiles_end();
    }
}
