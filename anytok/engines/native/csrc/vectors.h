/* Numbers in registers: how they are loaded and stored, and the functions that a codec takes of them.

   What torch's operations leave slow in a codec on a CPU is written in the C files beside this one: products, the search
   of codebooks, the steps of an LSTM, activations, norms. Every number is summed in one order, by one thread, and by the
   same instructions, whatever lies beside it and however many threads there are: that is what lets batches, tiles and
   threads change nothing.

   hatch_build.py compiles them once for each kind of CPU; kernels.py calls them. Vectors are the compiler's own (GCC's
   vector extensions), a * b + c is one rounding (-ffp-contract=fast), threads are torch's (OpenMP). */

#pragma once

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#ifdef __AVX512F__
enum { LANES = 16 }; /* floats in a register */
#else
enum { LANES = 8 };
#endif
enum { PART = 1 << 12, SMALL = 1 << 15 }; /* numbers: one piece of work, and what is not worth waking threads for */
enum { CHUNK = 128 }; /* numbers summed at once, as many on every CPU, so that all give the same bits */

typedef float vec __attribute__((vector_size(4 * LANES)));
typedef int32_t ints __attribute__((vector_size(4 * LANES)));
typedef uint16_t halves __attribute__((vector_size(2 * LANES)));

#define INLINE static inline __attribute__((always_inline))

INLINE vec all(float x) { return x - (vec){0}; }
INLINE vec same(const float *x) { /* whatever its bits mean, in all lanes */
    int32_t bits;
    memcpy(&bits, x, 4);
    return (vec)(bits - (ints){0});
}

INLINE vec where(ints is, vec a, vec b) { return (vec)((is & (ints)a) | (~is & (ints)b)); }
INLINE int any(ints is) {
    int64_t both[sizeof is / 8], found = 0;
    memcpy(both, &is, sizeof is);
    for (unsigned i = 0; i < sizeof is / 8; i++) found |= both[i];
    return found != 0;
}
INLINE vec clamp(vec x, float most) { return where(x > most, all(most), where(x < -most, all(-most), x)); }

/* Up to LANES numbers of `size` bytes: floats, or bfloat16, which are the upper halves of floats. */
INLINE vec load(const int size, int64_t count, const void *from) {
    vec x = {0};
    halves upper = {0};
    memcpy(size == 4 ? (void *)&x : (void *)&upper, from, count * size);
    return size == 4 ? x : (vec)(__builtin_convertvector(upper, ints) << 16);
}

INLINE void store(const int size, int64_t count, vec x, void *to) {
    ints bits = (ints)x, odd = bits >> 16 & 1;
    halves upper = __builtin_convertvector((bits + 0x7fff + odd) >> 16, halves); /* halves to even */
    memcpy(to, size == 4 ? (void *)&x : (void *)&upper, count * size);
}

/* The nearest whole number, up to 2^22: added and taken away again, 1.5 * 2^23 leaves no room for a fraction. */
INLINE vec nearest(vec x) { return (x + 0x1.8p23f) - 0x1.8p23f; }

/* e^x - 1 to about one unit in the last place, by Cody and Waite: x = n ln 2 + r, and a Taylor polynomial of r. */
INLINE vec exp_less_1(vec x) {
    x = clamp(x, 87);
    vec n = nearest(x * 0x1.715476p0f);
    vec r = x - n * 0x1.62e4p-1f - n * 0x1.7f7d1cp-20f; /* ln 2 in two parts, n times the first is exact */
    vec p = all(1.0f / 5040);
    p = p * r + 1.0f / 720;
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = p * (r * r) + r;
    vec power = (vec)((__builtin_convertvector(n, ints) + 127) << 23); /* 2^n, by its exponent's bits */
    return p * power + (power - 1);
}

INLINE vec sigmoid(vec x) { return 1 / (2 + exp_less_1(-x)); }

INLINE vec tanh_(vec x) {
    vec e = exp_less_1(x * 2);
    return e / (e + 2);
}

/* sin(x)^2, of which every half turn is the same: x = n pi + r, and a Taylor polynomial of sin r. */
INLINE vec sine_squared(vec x) {
    vec n = nearest(x * 0x1.45f306p-2f);
    vec r = x - n * 0x1.921fb6p1f - n * -0x1.777a5cp-24f; /* pi in two parts */
    r = clamp(r, 0x1.921fb6p0f); /* where floats are too coarse for n */
    vec q = r * r;
    vec p = all(1.0f / 6227020800);
    p = p * q - 1.0f / 39916800;
    p = p * q + 1.0f / 362880;
    p = p * q - 1.0f / 5040;
    p = p * q + 1.0f / 120;
    p = p * q - 1.0f / 6;
    p = p * (q * r) + r;
    return p * p;
}

INLINE int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
INLINE int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }
INLINE int64_t up(int64_t a, int64_t b) { return (a + b - 1) / b; }
