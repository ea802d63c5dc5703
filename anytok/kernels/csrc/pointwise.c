/* Elementwise operations: activations, and the mean, variance and scaling of a norm. */

#include "vectors.h"

INLINE void elu_some(const int size, int64_t count, const char *in, char *out) {
    vec x = load(size, count, in);
    store(size, count, blend(x < 0, expm1_(x), x), out);
}

INLINE void elu_part(const int size, int64_t count, const char *in, char *out) {
    int64_t whole = count / LANES * LANES;
    for (int64_t i = 0; i < whole; i += LANES) elu_some(size, LANES, in + i * size, out + i * size);
    elu_some(size, count - whole, in + whole * size, out + whole * size);
}

/* ELU (arXiv 1511.07289): x, or e^x - 1 where x is below zero, of numbers of `size` bytes; `out` may be `in`. */
void elu(int64_t size, int64_t count, const char *in, char *out, int64_t threads) {
#pragma omp parallel for schedule(static) num_threads(threads) if (count > SMALL)
    for (int64_t i = 0; i < count; i += PART)
        if (size == 4)
            elu_part(4, smaller(PART, count - i), in + i * 4, out + i * 4);
        else
            elu_part(2, smaller(PART, count - i), in + i * 2, out + i * 2);
}

INLINE void snake_some(const int size, int64_t count, const float *alpha, const float *inverse, const char *in,
                       char *out) {
    vec x = load(size, count, in);
    vec wave = sine_squared(x * load(4, count, alpha));
    store(size, count, wave * load(4, count, inverse) + x, out);
}

INLINE void snake_row(const int size, int64_t channels, const float *alpha, const float *inverse, const char *in,
                      char *out) {
    int64_t whole = channels / LANES * LANES;
    for (int64_t c = 0; c < whole; c += LANES)
        snake_some(size, LANES, alpha + c, inverse + c, in + c * size, out + c * size);
    if (whole < channels)
        snake_some(size, channels - whole, alpha + whole, inverse + whole, in + whole * size, out + whole * size);
}

/* Snake (arXiv 2006.08195): x + sin(alpha x)^2 * inverse of [rows][channels], alpha and its inverse per channel; `size`
   and `out` as for elu. */
void snake(int64_t size, int64_t rows, int64_t channels, const float *alpha, const float *inverse, const char *in,
           char *out, int64_t threads) {
#pragma omp parallel for schedule(static) num_threads(threads) if (rows * channels > SMALL)
    for (int64_t row = 0; row < rows; row++)
        if (size == 4)
            snake_row(4, channels, alpha, inverse, in + row * channels * 4, out + row * channels * 4);
        else
            snake_row(2, channels, alpha, inverse, in + row * channels * 2, out + row * channels * 2);
}

INLINE void add_moments(const int size, int64_t count, const char *in, vec *sum, vec *square) {
    vec x = load(size, count, in);
    *sum += x, *square += x * x;
}

/* Sums of CHUNK numbers are float32, and sums of these float64. */
INLINE void moments_part(const int size, int64_t count, const char *in, double *sums) {
    sums[0] = sums[1] = 0;
    for (int64_t begin = 0; begin < count; begin += CHUNK) {
        int64_t end = smaller(count, begin + CHUNK), whole = begin + (end - begin) / LANES * LANES;
        vec sum = {0}, square = {0};
        for (int64_t i = begin; i < whole; i += LANES) add_moments(size, LANES, in + i * size, &sum, &square);
        if (whole < end) add_moments(size, end - whole, in + whole * size, &sum, &square);
        for (int lane = 0; lane < LANES; lane++) sums[0] += sum[lane], sums[1] += square[lane];
    }
}

/* Numbers behind each pair of `moments`. */
int part(void) { return PART; }

/* The sum of every PART numbers and of their squares, `sums` [parts][2]; the caller adds them up, in order. */
void moments(int64_t size, int64_t count, const char *in, double *sums, int64_t threads) {
#pragma omp parallel for schedule(static) num_threads(threads) if (count > SMALL)
    for (int64_t part = 0; part < ceil_div(count, PART); part++) {
        const char *from = in + part * PART * size;
        int64_t some = smaller(PART, count - part * PART);
        if (size == 4)
            moments_part(4, some, from, sums + 2 * part);
        else
            moments_part(2, some, from, sums + 2 * part);
    }
}

INLINE void rescale_some(const int size, int64_t count, const float *gain, const float *shift, char *signal) {
    vec x = load(size, count, signal);
    store(size, count, x * load(4, LANES, gain) + load(4, LANES, shift), signal);
}

INLINE void rescale_row(const int size, int64_t count, const float *gain, const float *shift, char *row) {
    int64_t whole = count / LANES * LANES;
    for (int64_t i = 0; i < whole; i += LANES) rescale_some(size, LANES, gain + i, shift + i, row + i * size);
    if (whole < count) rescale_some(size, count - whole, gain + whole, shift + whole, row + whole * size);
}

/* x * gain + shift in place, of `count` numbers in rows of `width`, of which the last may be cut short. A width that
   fills whole registers is fast. */
void rescale(int64_t size, int64_t count, int64_t width, const float *gain, const float *shift, char *signal,
             int64_t threads) {
#pragma omp parallel for schedule(static) num_threads(threads) if (count > SMALL)
    for (int64_t begin = 0; begin < count; begin += width)
        if (size == 4)
            rescale_row(4, smaller(width, count - begin), gain, shift, signal + begin * 4);
        else
            rescale_row(2, smaller(width, count - begin), gain, shift, signal + begin * 2);
}
