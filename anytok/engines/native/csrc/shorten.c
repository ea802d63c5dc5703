/* An LSTM's recurrent weights in three bytes each.

   A clip alone waits for them to be read at every frame, and a quarter less to read is about as much faster. They become
   whole numbers of 24 bits, times a power of two for each gate of a unit, which the largest of them fills: so they are
   rounded by at most 2^-23 of that one, which is less than what float32 loses where such products are added up. Those
   numbers are floats again without loss, and for more clips they are. */

#include "products.h"

static const float LOST = 0x1p-40f; /* at most, of a sum of squares: what sums of products lose of themselves, too */

int few(void) { return TILE; }

/* The power of two that is a step of 24 bits, if `most` is the largest number. */
INLINE vec step_of(vec most) {
    most = where(most > 0x1p-90f, most, all(0x1p-90f));
    return (vec)((((ints)most >> 23) - 22) << 23); /* by exponents' bits: 2^-23 of the power above `most` */
}

INLINE vec absolute(vec x) { return (vec)((ints)x & 0x7fffffff); }

/* The nearest whole number of 24 bits; halves away from zero. */
INLINE ints whole(vec x) {
    ints made = __builtin_convertvector(x, ints);
    vec left = x - __builtin_convertvector(made, vec);
    made += (left <= -0.5f) - (left >= 0.5f); /* what is so is -1 */
    return made + (made > 0x7fffff);          /* at most 2^23, which is one too many */
}

/* Weights of [depth][WIDE][LANES] → [depth][3][LANES], as `lengthened` reads them, and their scale [WIDE][LANES]. Whether
   no output loses more than LOST. */
INLINE int shorten_block(int64_t depth, const float *weight, int32_t *made, float *scale) {
    vec most[WIDE] = {0}, step[WIDE], lost[WIDE] = {0}, square[WIDE] = {0};
    for (int64_t i = 0; i < depth * WIDE; i++) {
        vec size = absolute(load(4, LANES, weight + i * LANES));
        most[i % WIDE] = where(size > most[i % WIDE], size, most[i % WIDE]);
    }
    for (int part = 0; part < WIDE; part++) {
        step[part] = step_of(most[part]);
        store(4, LANES, step[part] / 256, scale + part * LANES);
    }
    for (int64_t k = 0; k < depth; k++, weight += WIDE * LANES) {
        ints number[WIDE];
        for (int part = 0; part < WIDE; part++) {
            vec is = load(4, LANES, weight + part * LANES);
            number[part] = whole(is / step[part]);
            vec less = is - __builtin_convertvector(number[part], vec) * step[part];
            lost[part] += less * less, square[part] += is * is;
        }
        for (int part = 0; part < 3; part++, made += LANES) {
            ints both = number[part] << 8 | (number[3] >> 8 * (2 - part) & 255);
            memcpy(made, &both, sizeof both);
        }
    }
    int fine = 1;
    for (int part = 0; part < WIDE; part++)
        for (int lane = 0; lane < LANES; lane++) /* of NaN and infinity it is never so */
            fine &= lost[part][lane] == 0 || lost[part][lane] < square[part][lane] * LOST;
    return fine;
}

/* Weights as `lstm` takes them, FLOATS of some `blocks` → SHORT_WEIGHTS and their `scale` [blocks][WIDE][LANES]. Whether
   they can be, without loss that would count. */
int shorten(int64_t blocks, int64_t depth, const float *weight, int32_t *made, float *scale, int64_t threads) {
    int fine = 1;
#pragma omp parallel for schedule(static) num_threads(threads) reduction(& : fine)
    for (int64_t block = 0; block < blocks; block++)
        fine &= shorten_block(depth, weight + block * depth * WIDE * LANES, made + block * depth * 3 * LANES,
                              scale + block * WIDE * LANES);
    return fine;
}

/* The same numbers as FLOATS again. */
void lengthen(int64_t blocks, int64_t depth, const int32_t *weight, const float *scale, float *made, int64_t threads) {
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t block = 0; block < blocks; block++)
        for (int64_t k = 0; k < depth; k++) {
            vec number[WIDE];
            lengthened((const char *)(weight + (block * depth + k) * 3 * LANES), number);
            for (int part = 0; part < WIDE; part++) {
                vec is = number[part] * load(4, LANES, scale + (block * WIDE + part) * LANES);
                store(4, LANES, is, made + ((block * depth + k) * WIDE + part) * LANES);
            }
        }
}
