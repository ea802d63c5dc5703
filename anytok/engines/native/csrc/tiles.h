/* Tiles, the registers of matrix units (AMX): 16 rows of 64 bytes, of floats or of pairs of bfloat16.

   tile_add(c, a, b) adds to c, [16 rows][16 outputs], the products of a, [16 rows][16 pairs of inputs], and b,
   [16 pairs of inputs][16 outputs]. The tiles' numbers are literals: 0 to 3 are sums, 4 and 5 rows, and these may have
   fewer rows than 16; 6 and 7 are weights. Where the compiler is not told that there are such units, what they do is
   written out, and summed in the order that Intel documents: slowly, but so every CPU can test what takes them. */

#pragma once

#include "vectors.h"

enum { EDGE = 16 }; /* rows, outputs, or pairs of inputs of a tile */

#ifdef __AMX_BF16__

enum { HAS_MATRIX = 1 };

typedef struct {
    uint8_t palette, start, reserved[14];
    uint16_t bytes[16]; /* of a row */
    uint8_t rows[16];
} Config;
_Static_assert(sizeof(Config) == 64, "as the CPU reads it");

INLINE void tiles_begin(int64_t rows) {
    Config config __attribute__((aligned(64))) = {.palette = 1};
    for (int tile = 0; tile < 8; tile++) config.bytes[tile] = 64, config.rows[tile] = tile < 6 ? rows : EDGE;
    __asm__ volatile("" ::"r"(&config) : "memory"); /* GCC's _tile_loadconfig says that it reads 8 bytes of it */
    _tile_loadconfig(&config);
}
INLINE void tiles_end(void) { _tile_release(); }

/* GCC's _tile_loadd does not say that it reads memory: what is to lie there might be written later, or never. */
#define tile_load(tile, from, apart) \
    do { \
        __asm__ volatile("" ::: "memory"); \
        _tile_loadd(tile, from, apart); \
    } while (0)
#define tile_store(tile, to, apart) _tile_stored(tile, to, apart)
#define tile_zero(tile) _tile_zero(tile)
#define tile_add(to, a, b) _tile_dpbf16ps(to, a, b)

#else

enum { HAS_MATRIX = 0, NO_DENORMALS = 0x9fc0 }; /* the CPU's MXCSR: they are zero, as they come and as they go */

static __thread uint32_t tiles[8][EDGE][EDGE];
static __thread int64_t some_rows; /* of tiles 0 to 5 */

INLINE void tiles_begin(int64_t rows) { some_rows = rows; }
INLINE void tiles_end(void) {}
INLINE int64_t rows_of(int tile) { return tile < 6 ? some_rows : EDGE; }

INLINE void tile_zero(int tile) { memset(tiles[tile], 0, sizeof *tiles); }

INLINE void tile_load(int tile, const void *from, int64_t apart) {
    for (int row = 0; row < rows_of(tile); row++) memcpy(tiles[tile][row], (const char *)from + row * apart, 4 * EDGE);
}

INLINE void tile_store(int tile, void *to, int64_t apart) {
    for (int row = 0; row < rows_of(tile); row++) memcpy((char *)to + row * apart, tiles[tile][row], 4 * EDGE);
}

/* LANES outputs of a row `a`: the sum over the first of each pair, that over the second, and then both. */
INLINE vec pair_sums(const uint32_t *a, const uint32_t *b) {
    vec first = {0}, second = {0};
    for (int pair = 0; pair < EDGE; pair++) {
        ints some;
        memcpy(&some, b + pair * EDGE, sizeof some);
        float one, other;
        memcpy(&one, &(uint32_t){a[pair] << 16}, 4), memcpy(&other, &(uint32_t){a[pair] >> 16 << 16}, 4);
        first += one * (vec)(some << 16);
        second += other * (vec)(some >> 16 << 16);
    }
    return first + second;
}

static __attribute__((noinline)) void tile_add(int to, int a, int b) {
    unsigned before = _mm_getcsr();
    _mm_setcsr(NO_DENORMALS);
    for (int row = 0; row < rows_of(to); row++)
        for (int at = 0; at < EDGE; at += LANES) {
            float *sum = (float *)tiles[to][row] + at;
            store(4, LANES, load(4, LANES, sum) + pair_sums(tiles[a][row], tiles[b][0] + at), sum);
        }
    _mm_setcsr(before);
}

#endif
