/* Products of rows with packed weights, block by block.

   A block is BLOCK outputs: REGISTERS vectors side by side. Its weights lie [depth][REGISTERS][LANES], so that each
   step over the depth reads one line of weights and one number of each row. The last block of a layer may be narrower:
   `wide` registers, 1, 2 or 4. */

#pragma once

#include "amx.h"
#include "vectors.h"

/* What is multiplied: float32 by float32; float32 rows by float16 weights, which are widened first; bfloat16 by
   bfloat16, in pairs of neighbouring inputs that take the place of one float32; or float32 by weights of int24.c. */
enum { FLOATS, HALF_WEIGHTS, PAIRS, INT24_WEIGHTS };
#ifdef __AVX512BF16__
enum { HAS_PAIRS = 1 };
#else
enum { HAS_PAIRS = 0 };
#endif

#ifdef __AVX512F__
enum { BLOCK_ROWS = 6 }; /* rows whose sums fit into the 32 registers beside weights */
#else
enum { BLOCK_ROWS = 3 }; /* … into the 16 */
#endif
enum { REGISTERS = 4, BLOCK = REGISTERS * LANES };
enum { PANEL_ROWS = 60 }; /* rows for which a chunk of weights stays in the first cache */
enum { LINE = 64 };       /* bytes of a cache line */
_Static_assert(PANEL_ROWS % BLOCK_ROWS == 0, "a panel is whole register blocks");

/* Rows of numbers; each begins `pitch` floats behind the one before, so they may overlap. */
typedef struct {
    float *at;
    int64_t pitch;
} Rows;

INLINE Rows skip(Rows rows, int64_t count) { return (Rows){rows.at + count * rows.pitch, rows.pitch}; }

/* Registers of a block that holds `outputs` outputs. */
INLINE int64_t registers_for(int64_t outputs) {
    return outputs > 2 * LANES ? REGISTERS : ceil_div(outputs, LANES);
}

INLINE int weight_bytes(const int kind) { return kind == HALF_WEIGHTS ? 2 : kind == INT24_WEIGHTS ? 3 : 4; }
INLINE const void *weights_at(const int kind, const void *weight, int64_t count) {
    return (const char *)weight + count * weight_bytes(kind);
}

/* LANES floats from float16. */
INLINE vec widen(const void *from) {
#ifdef __AVX512F__
    return (vec)_mm512_cvtph_ps(_mm256_loadu_si256(from));
#else
    return (vec)_mm256_cvtph_ps(_mm_loadu_si128(from));
#endif
}

/* The int24 weights of one input [REGISTERS][LANES], times 256: three registers have theirs in the upper three bytes of
   each word, and the lowest bytes of all three are the fourth's. */
INLINE void widen_int24(const char *from, vec *made) {
    ints a = (ints)load(4, LANES, from), b = (ints)load(4, LANES, from + sizeof a);
    ints c = (ints)load(4, LANES, from + 2 * sizeof a);
    made[0] = __builtin_convertvector(a & ~255, vec);
    made[1] = __builtin_convertvector(b & ~255, vec);
    made[2] = __builtin_convertvector(c & ~255, vec);
    made[3] = __builtin_convertvector(a << 24 | (b & 255) << 16 | (c & 255) << 8, vec);
}

/* sum + a b. Builds without VDPBF16PS make a product of pairs of two others: slower, but it works everywhere. */
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

/* to = W in + with, for `rows` rows and `wide` registers of outputs over a chunk of `count` inputs. The sums stay in
   registers, so rows and wide are constants. Sums of such short sums lose fewer bits than one long chain. Meanwhile
   half a chunk's bytes of weights are prefetched from `next` into the second cache, if given; of int24 ones, which
   have one register block of rows, all. */
INLINE void multiply_registers(const int kind, const int wide, const int rows, int64_t count, const char *weight,
                               const char *next, Rows in, Rows with, Rows to) {
    const int int24 = kind == INT24_WEIGHTS, size = wide * LANES * (int24 ? 3 : 4);
    const int fetched = wide * LANES * weight_bytes(kind) / (int24 ? 1 : 2);
    vec sum[BLOCK_ROWS][REGISTERS];
    for (int row = 0; row < rows; row++)
        for (int part = 0; part < wide; part++) sum[row][part] = broadcast(0);
#pragma GCC unroll 4
    for (int64_t k = 0; k < count; k++) {
        for (int at = 0; next && at < fetched; at += LINE) __builtin_prefetch(next + k * fetched + at, 0, 2);
        vec widened[REGISTERS];
        if (int24) widen_int24(weight + k * size, widened);
        for (int part = 0; part < wide; part++) {
            vec w = int24 ? widened[part] : load(4, LANES, weight + k * size + part * sizeof w);
            for (int row = 0; row < rows; row++)
                sum[row][part] = add_product(kind, sum[row][part], w, broadcast_bits(skip(in, row).at + k));
        }
    }
    for (int row = 0; row < rows; row++)
        for (int part = 0; part < wide; part++) {
            vec more = load(4, LANES, skip(with, row).at + part * LANES) + sum[row][part];
            store(4, LANES, more, skip(to, row).at + part * LANES);
        }
}

/* The same for up to BLOCK_ROWS rows. */
INLINE void multiply_chunk(const int kind, const int wide, int64_t rows, int64_t count, const char *weight,
                           const char *next, Rows in, Rows with, Rows to) {
    switch (rows) {
        case 1: multiply_registers(kind, wide, 1, count, weight, next, in, with, to); break;
        case 2: multiply_registers(kind, wide, 2, count, weight, next, in, with, to); break;
        case 3: multiply_registers(kind, wide, 3, count, weight, next, in, with, to); break;
#if defined __AVX512F__
        case 4: multiply_registers(kind, wide, 4, count, weight, next, in, with, to); break;
        case 5: multiply_registers(kind, wide, 5, count, weight, next, in, with, to); break;
        case 6: multiply_registers(kind, wide, 6, count, weight, next, in, with, to); break;
#endif
    }
}

/* to = W in + with, for one block of outputs of up to PANEL_ROWS rows and the whole depth (in pairs for PAIRS). A chunk
   of weights stays in the cache for all rows. `next`, if given, is where the weights lie that are needed after these
   and are not in the cache: the first two register blocks of each chunk prefetch half of the following chunk each. */
INLINE void multiply_block(const int kind, const int wide, int64_t rows, int64_t depth, const void *weight,
                           const void *next, Rows in, Rows with, Rows to) {
    vec partial[PANEL_ROWS][REGISTERS], wider[CHUNK * REGISTERS];
    Rows sum = {(float *)partial, BLOCK};
    for (int64_t begin = 0; begin < depth; begin += CHUNK) {
        int64_t count = smaller(CHUNK, depth - begin);
        Rows out = begin + CHUNK < depth ? sum : to;
        const char *chunk = weight;
        if (kind == HALF_WEIGHTS) { /* once for all rows */
            for (int64_t i = 0; i < count * wide; i++) wider[i] = widen(weights_at(kind, weight, i * LANES));
            chunk = (const char *)wider;
        }
        weight = weights_at(kind, weight, count * wide * LANES);
        const void *following = begin + CHUNK < depth ? weight : next;
        for (int64_t row = 0; row < rows; row += BLOCK_ROWS) {
            int fetches = next && row <= BLOCK_ROWS;
            int64_t half = row / BLOCK_ROWS * count * wide * LANES / 2;
            multiply_chunk(kind, wide, smaller(BLOCK_ROWS, rows - row), count, chunk,
                           fetches ? weights_at(kind, following, half) : 0, skip(in, row), skip(with, row),
                           skip(out, row));
        }
        in.at += count, with = sum;
    }
}

/* Prefetches a line of each of TILE rows; they need not exist. */
INLINE void prefetch_rows(Rows rows) {
    for (int row = 0; row < TILE; row++) __builtin_prefetch(skip(rows, row).at);
}

/* sum = W in + with (if given), of up to TILE rows of bfloat16 pairs, by AMX; the depth in pairs is a multiple of TILE.
   The `wide` registers of outputs are 1, 2 or 4 tiles side by side. `next`, if given, are the rows that come after
   these: AMX waits for every line it loads, so they are prefetched one tile ahead. Earlier would evict the weights. */
INLINE void multiply_tiles(const int wide, int64_t depth, const float *weight, Rows in, float *next, const vec *with,
                           vec *sum) {
    const int count = wide * LANES / TILE;
    const char *before = (const char *)with;
    char *to = (char *)sum;
    int64_t tile = 4 * TILE, pitch = wide * sizeof(vec);
    tile_zero(0);
    tile_zero(1);
    tile_zero(2);
    tile_zero(3);
    if (with) {
        tile_load(0, before, pitch);
        if (count > 1) tile_load(1, before + tile, pitch);
        if (count > 2) tile_load(2, before + 2 * tile, pitch);
        if (count > 2) tile_load(3, before + 3 * tile, pitch);
    }
    for (int64_t k = 0; k < depth; k += TILE) {
        const char *from = (const char *)weight + k * pitch;
        if (next) prefetch_rows((Rows){k + TILE < depth ? in.at + k + TILE : next, in.pitch});
        tile_load(4, in.at + k, 4 * in.pitch);
        tile_load(6, from, pitch);
        tile_add(0, 4, 6);
        if (count == 1) continue;
        tile_load(7, from + tile, pitch);
        tile_add(1, 4, 7);
        if (count == 2) continue;
        tile_load(6, from + 2 * tile, pitch);
        tile_add(2, 4, 6);
        tile_load(7, from + 3 * tile, pitch);
        tile_add(3, 4, 7);
    }
    tile_store(0, to, pitch);
    if (count > 1) tile_store(1, to + tile, pitch);
    if (count > 2) tile_store(2, to + 2 * tile, pitch);
    if (count > 2) tile_store(3, to + 3 * tile, pitch);
}
