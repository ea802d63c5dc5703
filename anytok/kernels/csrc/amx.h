/* AMX tiles: the CPU's two-dimensional registers of 16 rows of 64 bytes, of float32 or of pairs of bfloat16.

   tile_add(c, a, b) adds to c [16 rows][16 outputs] the products of a [16 rows][16 pairs of inputs] and b
   [16 pairs of inputs][16 outputs] (TDPBF16PS). Tile numbers must be literals: 0 to 3 hold sums, 4 holds rows, 6 and 7
   hold weights. Tiles 0 to 5 may have fewer rows than 16.

   In builds without AMX the same is written out, summed in the order that Intel documents: slow, but so tests of any
   CPU reach the code that uses tiles. */

#pragma once

#include "vectors.h"

enum { TILE = 16 }; /* rows, outputs, or pairs of inputs of a tile */

#ifdef __AMX_BF16__

enum { HAS_AMX = 1 };

typedef struct {
    uint8_t palette, start, reserved[14];
    uint16_t bytes[16]; /* of a row */
    uint8_t rows[16];
} Config;
_Static_assert(sizeof(Config) == 64, "the layout that LDTILECFG reads");

INLINE void tiles_begin(int64_t rows) {
    Config config __attribute__((aligned(64))) = {.palette = 1};
    for (int tile = 0; tile < 8; tile++) config.bytes[tile] = 64, config.rows[tile] = tile < 6 ? rows : TILE;
    __asm__ volatile("" ::"r"(&config) : "memory"); /* GCC's _tile_loadconfig declares that it reads 8 bytes only */
    _tile_loadconfig(&config);
}
INLINE void tiles_end(void) { _tile_release(); }

/* GCC's _tile_loadd does not declare that it reads memory: without the barrier stores to it may be moved behind. */
#define tile_load(tile, from, pitch) \
    do { \
        __asm__ volatile("" ::: "memory"); \
        _tile_loadd(tile, from, pitch); \
    } while (0)
#define tile_store(tile, to, pitch) _tile_stored(tile, to, pitch)
#define tile_zero(tile) _tile_zero(tile)
#define tile_add(to, a, b) _tile_dpbf16ps(to, a, b)

#else

enum { HAS_AMX = 0, FLUSH_DENORMALS = 0x9fc0 }; /* MXCSR with DAZ and FTZ, as the instruction behaves */

static __thread uint32_t tiles[8][TILE][TILE];
static __thread int64_t row_count; /* of tiles 0 to 5 */

INLINE void tiles_begin(int64_t rows) { row_count = rows; }
INLINE void tiles_end(void) {}
INLINE int64_t rows_of(int tile) { return tile < 6 ? row_count : TILE; }

INLINE void tile_zero(int tile) { memset(tiles[tile], 0, sizeof *tiles); }

INLINE void tile_load(int tile, const void *from, int64_t pitch) {
    for (int row = 0; row < rows_of(tile); row++) memcpy(tiles[tile][row], (const char *)from + row * pitch, 4 * TILE);
}

INLINE void tile_store(int tile, void *to, int64_t pitch) {
    for (int row = 0; row < rows_of(tile); row++) memcpy((char *)to + row * pitch, tiles[tile][row], 4 * TILE);
}

/* LANES outputs of a row `a`: the sum over first elements of the pairs, plus that over second elements. */
INLINE vec pair_sums(const uint32_t *a, const uint32_t *b) {
    vec first = {0}, second = {0};
    for (int pair = 0; pair < TILE; pair++) {
        ints weights;
        memcpy(&weights, b + pair * TILE, sizeof weights);
        float low, high;
        memcpy(&low, &(uint32_t){a[pair] << 16}, 4), memcpy(&high, &(uint32_t){a[pair] >> 16 << 16}, 4);
        first += low * (vec)(weights << 16);
        second += high * (vec)(weights >> 16 << 16);
    }
    return first + second;
}

static __attribute__((noinline)) void tile_add(int to, int a, int b) {
    unsigned before = _mm_getcsr();
    _mm_setcsr(FLUSH_DENORMALS);
    for (int row = 0; row < rows_of(to); row++)
        for (int at = 0; at < TILE; at += LANES) {
            float *sum = (float *)tiles[to][row] + at;
            store(4, LANES, load(4, LANES, sum) + pair_sums(tiles[a][row], tiles[b][0] + at), sum);
        }
    _mm_setcsr(before);
}

#endif
