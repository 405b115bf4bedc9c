// Sizes and numbers that all kernels share.
//
// What happens to a dreamt frame, compiled for one architecture and one machine by
// frame_kernels.py, which defines sizes as constants so that loops are unrolled and vectorised for
// them. Products (P) are bfloat16 or float, all other arithmetic is float. Slots are independent
// and shared out among threads. stepping.py does the same in torch operations; what is computed is
// written there.

#ifndef NUMBERS_H
#define NUMBERS_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#define INNER (SSM_HEADS * SSM_HEAD_DIM)
#define CHANNELS (INNER + 2 * STATE_DIM)
#define HEADS (WIDTH / HEAD_DIM)
#define KEYS ((WINDOW + 1) * TOKENS)
// Numbers from one token's projection to the next: gate, channels and steps; tiles need 32s.
#if TILES
#define PROJECTED ((INNER + CHANNELS + SSM_HEADS + 31) / 32 * 32)
#else
#define PROJECTED (INNER + CHANNELS + SSM_HEADS)
#endif

// Whether queries, keys and heads come in whole tiles.
#define TILED_ATTENTION (TILES && TOKENS % 16 == 0 && HEAD_DIM % 32 == 0)

#define INLINE static inline __attribute__((always_inline))
#define SLOTS_IN_PARALLEL _Pragma("omp parallel for num_threads(threads) if (threads > 1)")
// Loops over registers: without being unrolled they would be loops over memory.
#define IN_REGISTERS _Pragma("GCC unroll 16")

// As many floats as fit a register and divide tokens and head dims, and what loads them.
typedef float Lanes __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

#if HALF
typedef uint16_t P;
INLINE float up(P value) {
    uint32_t bits = (uint32_t)value << 16;
    float wide;
    memcpy(&wide, &bits, 4);
    return wide;
}
INLINE P down(float wide) {  // to the nearest, ties to even
    uint32_t bits;
    memcpy(&bits, &wide, 4);
    return (P)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}
#else
typedef float P;
INLINE float up(P value) { return value; }
INLINE P down(float wide) { return wide; }
#endif

// exp within 3e-7 relative for |x| < 10; 2^t split into an exponent and a polynomial.
INLINE float fast_exp(float x) {
    float t = x * 1.44269504f;
    t = t < -126.f ? -126.f : t;
    t = t > 64.f ? 64.f : t;
    float whole = rintf(t), f = t - whole;
    float p = 1.f + f * (0.69314718f + f * (0.24022651f + f * (0.05550411f + f * (0.00961813f
        + f * (0.00133336f + f * 0.00015469f)))));
    uint32_t bits = ((uint32_t)(int32_t)whole + 127) << 23;  // unsigned: of a NaN it is anything
    float power;
    memcpy(&power, &bits, 4);
    return p * power;
}

// 1/x for x from 1 to 2^100: a guess from the exponent, thrice improved. Dividing takes thrice as
// long, which counts where every number of a layer passes through.
INLINE float reciprocal(float x) {
    int32_t bits;
    memcpy(&bits, &x, 4);
    bits = 0x7ef311c7 - bits;
    float guess;
    memcpy(&guess, &bits, 4);
    guess *= 2.f - x * guess;
    guess *= 2.f - x * guess;
    return guess * (2.f - x * guess);
}

INLINE float silu(float x) { return x * reciprocal(1.f + fast_exp(-x)); }

// GELU by tanh: x/2 · (1 + tanh u) is x · sigmoid(2u).
INLINE float gelu_tanh(float x) {
    return x * reciprocal(1.f + fast_exp(-1.59576912f * x * (1.f + 0.044715f * x * x)));
}

// log(1 + exp(x)); log1p(u) is 2 atanh(u / (2 + u)), as a series good to 2e-8.
INLINE float softplus(float x) {
    float u = fast_exp(x < 0 ? x : -x), z = u / (2.f + u), q = z * z;
    float series = 1.f + q * (0.33333333f + q * (0.2f + q * (0.14285714f + q * (0.11111111f
        + q * (0.09090909f + q * (0.07692308f + q * 0.06666667f))))));
    return (x < 0 ? 0.f : x) + 2.f * z * series;
}

INLINE float rms_factor(float squares, int size) {
    return 1.f / sqrtf(squares / size + 1.1920929e-7f);
}

// Lets Python compare its idea of a structure with this one.
#define SIZE_OF(type) long size_of_##type(void) { return sizeof(type); }

#endif
