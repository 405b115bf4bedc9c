// One frame's queries against frames of keys: norm and rotation, softmax, and their gradients.
//
// Queries stand side by side in registers (16 of them), so that scores, maxima and sums need no
// arithmetic across a register; keys come one after another as scalars.

#ifndef ATTENTION_H
#define ATTENTION_H

#include "sizes.h"

#define LANE 16
typedef float V __attribute__((vector_size(4 * LANE), aligned(4), may_alias));

typedef struct {
    long slots, frames, tokens, heads, head_dim, window;
    const int64_t *seen;           // (slots,) frames that came before
    const P *past_keys, *past_values;  // (slots, window, tokens, h, d), keys unrotated
    const float *cosine, *sine;    // (window + frames, tokens, d / 2)
    const float *query_weight, *key_weight;  // (d,) of the norms
} Attention;

// A frame's rows in the ring, padded to as many as are summed at once, and its lanes.
#define ROWS 4
#define KEY_ROWS(a) (((a)->tokens + ROWS - 1) / ROWS * ROWS)
#define QUERY_LANES(a) (((a)->tokens + LANE - 1) / LANE * LANE)

// Normalised and rotated rows (KEY_ROWS, d) of q, k or a cached key; `factor` gets 1 / rms.
INLINE void turned(
    const Attention *a, long d, const P *rows, long stride, long frame, const float *weight,
    int normed, float scale, float *out, float *factor
) {
    const float *cosine = a->cosine + (frame + a->window) * a->tokens * (d / 2);
    const float *sine = a->sine + (frame + a->window) * a->tokens * (d / 2);
    for (long i = 0; i < a->tokens; i++) {
        const P *row = rows + i * stride;
        float x[d], squares = 0;
        for (long j = 0; j < d; j++) x[j] = up(row[j]);
        if (!normed) {
            for (long j = 0; j < d; j++) squares += x[j] * x[j];
            factor[i] = rms_factor(squares, d);
            for (long j = 0; j < d; j++) x[j] *= factor[i] * weight[j];
        }
        for (long j = 0; j < d / 2; j++) {
            float c = cosine[i * (d / 2) + j] * scale, s = sine[i * (d / 2) + j] * scale;
            out[i * d + j] = x[j] * c - x[j + d / 2] * s;
            out[i * d + j + d / 2] = x[j] * s + x[j + d / 2] * c;
        }
    }
}

// Gradient through `turned`: d_out (tokens, d) → d_rows; adds to d_weight.
INLINE void turned_gradient(
    const Attention *a, long d, const P *rows, long stride, long frame, const float *weight,
    float scale, const float *factor, const float *d_out, P *d_rows, float *d_weight
) {
    const float *cosine = a->cosine + (frame + a->window) * a->tokens * (d / 2);
    const float *sine = a->sine + (frame + a->window) * a->tokens * (d / 2);
    for (long i = 0; i < a->tokens; i++) {
        const P *row = rows + i * stride;
        const float *of = d_out + i * d;
        float back[d], along = 0;
        for (long j = 0; j < d / 2; j++) {
            float c = cosine[i * (d / 2) + j] * scale, s = sine[i * (d / 2) + j] * scale;
            back[j] = of[j] * c + of[j + d / 2] * s;
            back[j + d / 2] = of[j + d / 2] * c - of[j] * s;
        }
        for (long j = 0; j < d; j++) {
            float normed = up(row[j]) * factor[i];
            d_weight[j] += back[j] * normed;
            along += back[j] * weight[j] * normed;
        }
        along /= d;
        for (long j = 0; j < d; j++)
            d_rows[i * stride + j]
                = store(factor[i] * (back[j] * weight[j] - up(row[j]) * factor[i] * along));
    }
}

// (tokens, d) → (d, lanes), zero beyond the tokens.
INLINE void across(const Attention *a, long d, const float *rows, float *columns) {
    long lanes = QUERY_LANES(a);
    for (long j = 0; j < d; j++)
        for (long i = 0; i < lanes; i++)
            columns[j * lanes + i] = i < a->tokens ? rows[i * d + j] : 0;
}

// products (KEY_ROWS, lanes) = rows (KEY_ROWS, d) · columns (d, lanes), for a frame of keys.
INLINE void multiply(
    long keys, long lanes, long d, const float *rows, const float *columns, float *products
) {
    for (long v = 0; v < lanes; v += LANE)
        for (long j = 0; j < keys; j += ROWS) {
            const float *k = rows + j * d;
            V sum[ROWS] = {0};
            for (long e = 0; e < d; e++) {
                V x = *(const V *)(columns + e * lanes + v);
                IN_REGISTERS
                for (int m = 0; m < ROWS; m++) sum[m] += k[m * d + e] * x;
            }
            IN_REGISTERS
            for (int m = 0; m < ROWS; m++) *(V *)(products + (j + m) * lanes + v) = sum[m];
        }
}

// columns (d, lanes) += Σ_j rows (KEY_ROWS, d)ᵀ products (KEY_ROWS, lanes).
INLINE void gather(
    long keys, long lanes, long d, const float *rows, const float *products, float *columns
) {
    for (long v = 0; v < lanes; v += LANE)
        for (long e = 0; e < d; e += 16) {
            V sum[16];
            IN_REGISTERS
            for (int m = 0; m < 16; m++) sum[m] = *(V *)(columns + (e + m) * lanes + v);
            for (long j = 0; j < keys; j++) {
                V x = *(const V *)(products + j * lanes + v);
                IN_REGISTERS
                for (int m = 0; m < 16; m++) sum[m] += rows[j * d + e + m] * x;
            }
            IN_REGISTERS
            for (int m = 0; m < 16; m++) *(V *)(columns + (e + m) * lanes + v) = sum[m];
        }
}

// d_rows (KEY_ROWS, d) += products (KEY_ROWS, lanes) · queries (tokens, d).
INLINE void scatter(
    const Attention *a, long d, const float *products, const float *queries, float *d_rows
) {
    long lanes = QUERY_LANES(a);
    for (long j = 0; j < KEY_ROWS(a); j += ROWS)
        for (long e = 0; e < d; e += LANE) {
            const float *w = products + j * lanes;
            float *to = d_rows + j * d + e;
            V sum[ROWS];
            IN_REGISTERS
            for (int m = 0; m < ROWS; m++) sum[m] = *(V *)(to + m * d);
            for (long i = 0; i < a->tokens; i++) {
                V x = *(const V *)(queries + i * d + e);
                IN_REGISTERS
                for (int m = 0; m < ROWS; m++) sum[m] += w[m * lanes + i] * x;
            }
            IN_REGISTERS
            for (int m = 0; m < ROWS; m++) *(V *)(to + m * d) = sum[m];
        }
}

// Softmax over all keys of `count` frames, (count, KEY_ROWS, lanes) in place; padding gets zero.
INLINE void softmax(const Attention *a, long count, float *scores) {
    long lanes = QUERY_LANES(a), keys = KEY_ROWS(a);
    for (long v = 0; v < lanes; v += LANE) {
        float most[LANE];
        V sum = {0};
        for (int m = 0; m < LANE; m++) most[m] = -INFINITY;
        for (long f = 0; f < count; f++)
            for (long j = 0; j < a->tokens; j++) {
                const float *x = scores + (f * keys + j) * lanes + v;
                for (int m = 0; m < LANE; m++) most[m] = x[m] > most[m] ? x[m] : most[m];
            }
        for (long f = 0; f < count; f++)
            for (long j = 0; j < keys; j++) {
                float *x = scores + (f * keys + j) * lanes + v;
                for (int m = 0; m < LANE; m++) x[m] = j < a->tokens ? fast_exp(x[m] - most[m]) : 0;
                sum += *(V *)x;
            }
        V share = 1.f / sum;
        for (long j = 0; j < count * keys; j++) *(V *)(scores + j * lanes + v) *= share;
    }
}

// dS = P ∘ (dP − Σ_j P dP), into `d`.
INLINE void softmax_gradient(const Attention *a, long count, const float *p, float *d) {
    long lanes = QUERY_LANES(a), rows = count * KEY_ROWS(a);
    for (long v = 0; v < lanes; v += LANE) {
        V sum = {0};
        for (long j = 0; j < rows; j++)
            sum += *(const V *)(p + j * lanes + v) * *(V *)(d + j * lanes + v);
        for (long j = 0; j < rows; j++) {
            V *x = (V *)(d + j * lanes + v);
            *x = *(const V *)(p + j * lanes + v) * (*x - sum);
        }
    }
}

#endif
