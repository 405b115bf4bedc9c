// What the parts of a layer do for one slot, between two matrix products.

#ifndef LAYERS_H
#define LAYERS_H

#include "numbers.h"

// Adaptive norm of token i, at `x`: out = norm(x) · scale + shift.
INLINE void norm_token(const float *x, const float *scale, const float *shift, P *out) {
    float squares = 0;
    for (int j = 0; j < WIDTH; j++) squares += x[j] * x[j];
    float factor = rms_factor(squares, WIDTH);
    for (int j = 0; j < WIDTH; j++) out[j] = down(x[j] * factor * scale[j] + shift[j]);
}

typedef struct {
    const float *taps, *conv_bias, *step_bias, *decay, *skip;
} ScanWeights;

// All blocks of `length` tokens of a slot, which stand block by block: causal convolution, state
// read and, with `keep`, renewed, gate, norm.
void scan_slot(
    int length, const P *projected, P *tails, float *states, const ScanWeights *w, int keep, P *out
);

typedef struct {
    const float *norm;         // of queries and of keys, (2, head dim)
    const float *cos, *sin;    // of past keys, (window, tokens, head dim)
    const float *own_cos, *own_sin;  // of queries, scaled, and own keys, (tokens, 2, head dim)
} AttentionWeights;

// Attention to the frame itself and to as many of `WINDOW` frames before as there are.
void attend_slot(
    const P *qkv, P *keys, P *values, int64_t frames, const AttentionWeights *w, int keep, P *out
);

#endif
