/* Vectors of floats: loads, stores, and the elementary functions that the kernels share.

   Every sum is made in one order, by one thread and by the same instructions, whatever rows are computed beside it and
   however many threads there are. So batches, chunks of a signal and the number of threads change no bit of a result
   (tests/test_kernels.py, tests/test_kernel_layers.py).

   hatch_build.py compiles these files once for each kind of CPU; ../compiled.py calls them. Vectors are GCC's vector
   extensions, a * b + c is one rounding (-ffp-contract=fast), and threads are OpenMP's, in the copy that torch loads.

   In all kernels a `size` is the bytes of a number: 4 is float32, 2 is bfloat16. Sums are always float32. */

#pragma once

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#ifdef __AVX512F__
enum { LANES = 16 }; /* floats in a register */
#else
enum { LANES = 8 };
#endif
enum { PART = 1 << 12 };  /* numbers of an elementwise operation that one thread takes at a time */
enum { SMALL = 1 << 15 }; /* numbers up to which one thread is faster than waking others */
enum { CHUNK = 128 };     /* products summed in registers before they are added to the sum so far; alike in all builds */

typedef float vec __attribute__((vector_size(4 * LANES)));
typedef int32_t ints __attribute__((vector_size(4 * LANES)));
typedef uint16_t halves __attribute__((vector_size(2 * LANES)));

#define INLINE static inline __attribute__((always_inline))

INLINE int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
INLINE int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }
INLINE int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

INLINE vec broadcast(float x) { return x - (vec){0}; }
INLINE vec broadcast_bits(const float *x) { /* also where the four bytes are a pair of bfloat16 */
    int32_t bits;
    memcpy(&bits, x, 4);
    return (vec)(bits - (ints){0});
}

INLINE vec blend(ints mask, vec a, vec b) { return (vec)((mask & (ints)a) | (~mask & (ints)b)); }
INLINE vec clamp(vec x, float limit) {
    return blend(x > limit, broadcast(limit), blend(x < -limit, broadcast(-limit), x));
}

/* Up to LANES numbers, the rest zeros. A bfloat16 is the upper half of a float32. */
INLINE vec load(const int size, int64_t count, const void *from) {
    vec x = {0};
    halves upper = {0};
    memcpy(size == 4 ? (void *)&x : (void *)&upper, from, count * size);
    return size == 4 ? x : (vec)(__builtin_convertvector(upper, ints) << 16);
}

/* The first `count` numbers; to bfloat16 they are rounded to nearest, ties to even. */
INLINE void store(const int size, int64_t count, vec x, void *to) {
    ints bits = (ints)x, odd = bits >> 16 & 1;
    halves upper = __builtin_convertvector((bits + 0x7fff + odd) >> 16, halves);
    memcpy(to, size == 4 ? (void *)&x : (void *)&upper, count * size);
}

/* The nearest whole number, for |x| <= 2^22: 1.5 * 2^23 added leaves no bits for a fraction. */
INLINE vec nearest(vec x) { return (x + 0x1.8p23f) - 0x1.8p23f; }

/* e^x - 1 to about one unit in the last place (Cody and Waite 1980): x = n ln 2 + r, Taylor polynomial of r. */
INLINE vec expm1_(vec x) {
    x = clamp(x, 87);
    vec n = nearest(x * 0x1.715476p0f);
    vec r = x - n * 0x1.62e4p-1f - n * 0x1.7f7d1cp-20f; /* ln 2 in two parts; n times the first is exact */
    vec p = broadcast(1.0f / 5040);
    p = p * r + 1.0f / 720;
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = p * (r * r) + r;
    vec power = (vec)((__builtin_convertvector(n, ints) + 127) << 23); /* 2^n by its exponent field */
    return p * power + (power - 1);
}

INLINE vec sigmoid(vec x) { return 1 / (2 + expm1_(-x)); }

INLINE vec tanh_(vec x) {
    vec e = expm1_(x * 2);
    return e / (e + 2);
}

/* sin(x)^2, whose period is pi: x = n pi + r, Taylor polynomial of sin r. */
INLINE vec sine_squared(vec x) {
    vec n = nearest(x * 0x1.45f306p-2f);
    vec r = x - n * 0x1.921fb6p1f - n * -0x1.777a5cp-24f; /* pi in two parts */
    r = clamp(r, 0x1.921fb6p0f); /* for |x| so large that float32 cannot hold n */
    vec q = r * r;
    vec p = broadcast(1.0f / 6227020800);
    p = p * q - 1.0f / 39916800;
    p = p * q + 1.0f / 362880;
    p = p * q - 1.0f / 5040;
    p = p * q + 1.0f / 120;
    p = p * q - 1.0f / 6;
    p = p * (q * r) + r;
    return p * p;
}
