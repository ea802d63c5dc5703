/* The innermost products, of as many rows as registers hold the sums of. */

#pragma once

#include "tiles.h"
#include "vectors.h"

/* What is multiplied: floats; floats by weights in float16, which are widened first; bfloat16 by bfloat16, in pairs that
   take a float's place; or floats by short weights, whole numbers of 24 bits. Sums are always floats. */
enum { FLOATS, HALF_WEIGHTS, PAIRS, SHORT_WEIGHTS };
#ifdef __AVX512BF16__
enum { HAS_PAIRS = 1 };
#else
enum { HAS_PAIRS = 0 };
#endif

#ifdef __AVX512F__
enum { TILE = 6 }; /* rows whose sums, WIDE registers each, fit into the 32 */
#else
enum { TILE = 3 }; /* … into the 16 */
#endif
enum { WIDE = 4, ROWS = 60 }; /* registers side by side, of one row, and rows at once */
enum { LINE = 64 };           /* bytes that a cache fetches at once */
_Static_assert(ROWS % TILE == 0, "shares of rows are whole tiles");

/* Rows of numbers, each of which begins `pitch` numbers after the one before. */
typedef struct {
    float *at;
    int64_t pitch;
} Rows;

INLINE Rows skip(Rows rows, int64_t count) { return (Rows){rows.at + count * rows.pitch, rows.pitch}; }

/* The bytes of a weight, and the weight that lies `count` behind. */
INLINE int bytes_of(const int kind) { return kind == HALF_WEIGHTS ? 2 : kind == SHORT_WEIGHTS ? 3 : 4; }
INLINE const void *behind(const int kind, const void *weight, int64_t count) {
    return (const char *)weight + count * bytes_of(kind);
}

/* LANES floats, of float16. */
INLINE vec widened(const void *from) {
#ifdef __AVX512F__
    return (vec)_mm512_cvtph_ps(_mm256_loadu_si256(from));
#else
    return (vec)_mm256_cvtph_ps(_mm_loadu_si128(from));
#endif
}

/* The short weights of one input, [WIDE][LANES], times 256: they fill the upper three bytes of three registers, and those
   of a fourth are the lowest. */
INLINE void lengthened(const char *from, vec *weight) {
    ints a = (ints)load(4, LANES, from), b = (ints)load(4, LANES, from + sizeof a);
    ints c = (ints)load(4, LANES, from + 2 * sizeof a);
    weight[0] = __builtin_convertvector(a & ~255, vec);
    weight[1] = __builtin_convertvector(b & ~255, vec);
    weight[2] = __builtin_convertvector(c & ~255, vec);
    weight[3] = __builtin_convertvector(a << 24 | (b & 255) << 16 | (c & 255) << 8, vec);
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
   made of these short ones, which loses fewer bits than one after the other would. Meanwhile half of as many weights
   are fetched from `next`, if there are such, into the larger cache; of short ones, of which few rows are told, all. */
INLINE void add_products(const int kind, const int rows, int64_t count, const char *weight, const char *next, Rows in,
                         Rows with, Rows to) {
    const int size = WIDE * LANES * (kind == SHORT_WEIGHTS ? 3 : 4);
    const int fetched = WIDE * LANES * bytes_of(kind) / (kind == SHORT_WEIGHTS ? 1 : 2);
    vec sum[TILE][WIDE];
    for (int row = 0; row < rows; row++)
        for (int part = 0; part < WIDE; part++) sum[row][part] = all(0);
#pragma GCC unroll 4
    for (int64_t k = 0; k < count; k++) {
        for (int at = 0; next && at < fetched; at += LINE) __builtin_prefetch(next + k * fetched + at, 0, 2);
        vec length[WIDE];
        if (kind == SHORT_WEIGHTS) lengthened(weight + k * size, length);
        for (int part = 0; part < WIDE; part++) {
            vec w = kind == SHORT_WEIGHTS ? length[part] : load(4, LANES, weight + k * size + part * sizeof w);
            for (int row = 0; row < rows; row++)
                sum[row][part] = add_product(kind, sum[row][part], w, same(skip(in, row).at + k));
        }
    }
    for (int row = 0; row < rows; row++)
        for (int part = 0; part < WIDE; part++) {
            vec more = load(4, LANES, skip(with, row).at + part * LANES) + sum[row][part];
            store(4, LANES, more, skip(to, row).at + part * LANES);
        }
}

INLINE void add_tile(const int kind, int64_t rows, int64_t count, const char *weight, const char *next, Rows in,
                     Rows with, Rows to) {
    switch (rows) {
        case 1: add_products(kind, 1, count, weight, next, in, with, to); break;
        case 2: add_products(kind, 2, count, weight, next, in, with, to); break;
        case 3: add_products(kind, 3, count, weight, next, in, with, to); break;
#if defined __AVX512F__
        case 4: add_products(kind, 4, count, weight, next, in, with, to); break;
        case 5: add_products(kind, 5, count, weight, next, in, with, to); break;
        case 6: add_products(kind, 6, count, weight, next, in, with, to); break;
#endif
    }
}

/* to = W in + with, of up to ROWS rows and WIDE * LANES outputs. `weight` [depth][WIDE][LANES]; a chunk of it stays in
   the cache for all rows. A pair counts as one number. Of weights that lie far away it is told which come after them,
   `next`: while the first two tiles of rows are multiplied by a chunk, each fetches half of the one behind it. */
INLINE void add_all(const int kind, int64_t rows, int64_t depth, const void *weight, const void *next, Rows in,
                    Rows with, Rows to) {
    vec room[ROWS][WIDE], wide[CHUNK * WIDE];
    Rows sum = {(float *)room, WIDE * LANES};
    for (int64_t begin = 0; begin < depth; begin += CHUNK) {
        int64_t count = least(CHUNK, depth - begin);
        Rows out = begin + CHUNK < depth ? sum : to;
        const char *chunk = weight;
        if (kind == HALF_WEIGHTS) { /* once for all rows */
            for (int64_t i = 0; i < count * WIDE; i++) wide[i] = widened(behind(kind, weight, i * LANES));
            chunk = (const char *)wide;
        }
        weight = behind(kind, weight, count * WIDE * LANES);
        const void *then = begin + CHUNK < depth ? weight : next;
        for (int64_t row = 0; row < rows; row += TILE) {
            int fetches = next && row <= TILE;
            const void *half = fetches ? behind(kind, then, row / TILE * count * WIDE * LANES / 2) : 0;
            add_tile(kind, least(TILE, rows - row), count, chunk, half, skip(in, row), skip(with, row), skip(out, row));
        }
        in.at += count, with = sum;
    }
}

/* Has a line of each of EDGE rows brought near; nothing is read, so that it need not even be there. */
INLINE void fetch(Rows rows) {
    for (int row = 0; row < EDGE; row++) __builtin_prefetch(skip(rows, row).at);
}

/* sum = W in + with, if there is such, of up to EDGE rows of pairs, by matrix units; the depth is a multiple of EDGE. A
   row of weights is rows of tiles side by side: four, or two where a register has half as many lanes. Of rows that lie
   far away it is told what comes after them, `next`, as far apart: the units wait for each line, so each is fetched one
   tile ahead, not earlier, or else it drives the weights out. */
INLINE void add_by_tiles(int64_t depth, const float *weight, Rows in, float *next, const vec *with, vec *sum) {
    const int four = sizeof(vec) == 4 * EDGE;
    const char *before = (const char *)with;
    char *to = (char *)sum;
    int64_t tile = 4 * EDGE, apart = WIDE * sizeof(vec);
    tile_zero(0);
    tile_zero(1);
    tile_zero(2);
    tile_zero(3);
    if (with) {
        tile_load(0, before, apart);
        tile_load(1, before + tile, apart);
        if (four) tile_load(2, before + 2 * tile, apart);
        if (four) tile_load(3, before + 3 * tile, apart);
    }
    for (int64_t k = 0; k < depth; k += EDGE) {
        const char *from = (const char *)weight + k * apart;
        if (next) fetch((Rows){k + EDGE < depth ? in.at + k + EDGE : next, in.pitch});
        tile_load(4, in.at + k, 4 * in.pitch);
        tile_load(6, from, apart);
        tile_add(0, 4, 6);
        tile_load(7, from + tile, apart);
        tile_add(1, 4, 7);
        if (!four) continue;
        tile_load(6, from + 2 * tile, apart);
        tile_add(2, 4, 6);
        tile_load(7, from + 3 * tile, apart);
        tile_add(3, 4, 7);
    }
    tile_store(0, to, apart);
    tile_store(1, to + tile, apart);
    if (four) tile_store(2, to + 2 * tile, apart);
    if (four) tile_store(3, to + 3 * tile, apart);
}

enum { TILED_ROWS = 512, TILED_CHUNK = 128 }; /* by tiles: rows at once, and pairs whose weights stay near */

/* out = sum + bias of some rows, rounded to bfloat16 if that is their `size`. */
INLINE void finish(const int size, int64_t rows, int64_t outputs, const vec sum[][WIDE], const float *bias, char *out) {
    for (int64_t row = 0; row < rows; row++)
        for (int64_t part = 0; part < WIDE; part++) {
            vec made = sum[row][part] + load(4, LANES, bias + part * LANES);
            store(size, LANES, made, out + (row * outputs + part * LANES) * size);
        }
}

/* A block of outputs of up to TILED_ROWS rows of pairs, by matrix units; a chunk of weights stays in the cache for all
   rows, and if they fill one tile only, there is no need of chunks. The last tile begins earlier rather than being a
   smaller one: some rows are made twice. */
INLINE void multiply_by_tiles(const int size, int64_t rows, int64_t depth, int64_t outputs, const float *weight,
                              const float *bias, Rows in, char *out) {
    vec sum[TILED_ROWS][WIDE], last[EDGE][WIDE];
    int64_t many = least(EDGE, rows), chunk = rows > EDGE ? TILED_CHUNK : depth;
    tiles_begin(many);
    for (int64_t begin = 0; begin < depth; begin += chunk) {
        int64_t count = least(chunk, depth - begin);
        int ends = begin + count == depth;
        for (int64_t row = 0; row < rows; row += EDGE) {
            int64_t at = least(row, rows - many), then = least(row + EDGE, rows - many);
            Rows from = {skip(in, at).at + begin, in.pitch};
            float *next = row + EDGE < rows ? skip(in, then).at + begin : in.at + begin + count;
            add_by_tiles(count, weight + begin * WIDE * LANES, from, rows > EDGE ? next : 0, begin ? sum[row] : 0,
                         ends ? *last : sum[row]);
            if (ends) finish(size, many, outputs, last, bias, out + at * outputs * size);
        }
    }
}
