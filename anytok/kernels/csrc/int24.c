/* Recurrent weights of an LSTM in 24 bits.

   A step of a small batch takes as long as its weights take to be read, and three bytes a weight are a quarter less to
   read than float32. Weights become integers times a power of two, one for each gate of a unit, that the largest of
   them needs: the rounding is at most 2^-23 of that one. Dequantized, they are float32 without further loss. */

#include "products.h"

int int24_rows(void) { return BLOCK_ROWS; }

/* The power of two by which numbers of up to `largest` become integers of 24 bits: 2^-22 of its own, by exponents. */
INLINE vec scale_for(vec largest) {
    largest = blend(largest > 0x1p-90f, largest, broadcast(0x1p-90f));
    return (vec)((((ints)largest >> 23) - 22) << 23);
}

/* The nearest integer of 24 bits, ties away from zero. */
INLINE ints round_int24(vec x) {
    ints made = __builtin_convertvector(x, ints);
    vec rest = x - __builtin_convertvector(made, vec);
    made += (rest <= -0.5f) - (rest >= 0.5f); /* a comparison that holds is -1 */
    return made + (made > 0x7fffff);
}

/* One block. Whether each output's weights lose less, squared, than float32 sums do; NaN and infinity never do. */
INLINE int quantize_block(int64_t depth, const float *weight, int32_t *made, float *scale) {
    vec largest[REGISTERS] = {0}, unit[REGISTERS], lost[REGISTERS] = {0}, square[REGISTERS] = {0};
    for (int64_t i = 0; i < depth * REGISTERS; i++) {
        vec size = (vec)((ints)load(4, LANES, weight + i * LANES) & 0x7fffffff), *most = largest + i % REGISTERS;
        *most = blend(size > *most, size, *most);
    }
    for (int gate = 0; gate < REGISTERS; gate++) {
        unit[gate] = scale_for(largest[gate]);
        store(4, LANES, unit[gate] / 256, scale + gate * LANES);
    }
    for (int64_t k = 0; k < depth; k++, weight += BLOCK) {
        ints number[REGISTERS];
        for (int gate = 0; gate < REGISTERS; gate++) {
            vec w = load(4, LANES, weight + gate * LANES);
            number[gate] = round_int24(w / unit[gate]);
            vec error = w - __builtin_convertvector(number[gate], vec) * unit[gate];
            lost[gate] += error * error, square[gate] += w * w;
        }
        for (int part = 0; part < 3; part++, made += LANES)
            store(4, LANES, (vec)(number[part] << 8 | (number[3] >> 8 * (2 - part) & 255)), made);
    }
    int fits = 1;
    for (int gate = 0; gate < REGISTERS; gate++)
        for (int lane = 0; lane < LANES; lane++)
            fits &= lost[gate][lane] == 0 || lost[gate][lane] < square[gate][lane] * 0x1p-40f;
    return fits;
}

/* `weight` [blocks][depth][REGISTERS][LANES] → INT24_WEIGHTS [blocks][depth][3][LANES] and, for products with them,
   their `scale` [blocks][REGISTERS][LANES]. Whether all fit. */
int quantize_int24(int64_t blocks, int64_t depth, const float *weight, int32_t *made, float *scale, int64_t threads) {
    int fits = 1;
#pragma omp parallel for schedule(static) num_threads(threads) reduction(& : fits)
    for (int64_t block = 0; block < blocks; block++)
        fits &= quantize_block(depth, weight + block * depth * BLOCK, made + block * depth * 3 * LANES,
                               scale + block * BLOCK);
    return fits;
}

/* The same numbers in float32. */
void dequantize_int24(int64_t blocks, int64_t depth, const int32_t *weight, const float *scale, float *made,
                      int64_t threads) {
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t row = 0; row < blocks * depth; row++) {
        vec number[REGISTERS];
        widen_int24((const char *)(weight + row * 3 * LANES), number);
        for (int gate = 0; gate < REGISTERS; gate++)
            store(4, LANES, number[gate] * load(4, LANES, scale + row / depth * BLOCK + gate * LANES),
                  made + row * BLOCK + gate * LANES);
    }
}
