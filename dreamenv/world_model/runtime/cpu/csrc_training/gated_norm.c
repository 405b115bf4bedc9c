// What becomes of the scan's outputs: parts summed, the skip, the gate and the norm, in one pass from
// sequences back to rows of tokens.

#include "sizes.h"

// One stream's outputs of the scan and what joins them.
typedef struct {
    const P *within;      // (g, z, h, chunk, d) from the chunk's tokens
    const P *before;      // (g, z, chunk, h, d) from the state before the chunk, not yet decayed
    const P *own;         // (g, z, chunk, h, d) from the own frame, or NULL
    const float *reach;   // (g, z, chunk, h) log decay since the chunk's start
    const P *x, *gate;    // (g, i, inner)
} Mixed;

SIZE_OF(Mixed)

typedef struct {
    P *within, *before, *own;
    float *reach;
    P *x, *gate;
} MixedGradient;

SIZE_OF(MixedGradient)

// Token i of sequence g: y, the gate's sigmoid, and y · silu(gate).
INLINE void mix(
    const Scan *s, const Mixed *m, const float *skip, long g, long i, float *restrict y,
    float *restrict part, float *restrict gated
) {
    long inner = inner_of(s), d = s->head_dim, k = g * s->chunks + i / s->chunk, l = i % s->chunk;
    long at = g * length_of(s) + i;
    for (long h = 0; h < s->heads; h++) {
        const P *within = m->within + ((k * s->heads + h) * s->chunk + l) * d;
        long row = (k * s->chunk + l) * s->heads + h;
        const P *before = m->before + row * d, *x = m->x + at * inner + h * d;
        float decay = fast_exp(m->reach[row]), through = skip[h];
        for (long j = 0; j < d; j++)
            y[h * d + j] = up(within[j]) + decay * up(before[j]) + through * up(x[j]);
        if (m->own)
            for (long j = 0; j < d; j++) y[h * d + j] += up(m->own[row * d + j]);
    }
    for (long j = 0; j < inner; j++) {
        float shown = up(m->gate[at * inner + j]);
        part[j] = sigmoid(shown);
        gated[j] = y[j] * shown * part[j];
    }
}

void gated_norm(
    int threads, const Scan *s, const Mixed *m, const float *skip, const float *weight, P *out
) {
    long inner = inner_of(s);
    IN_PARALLEL
    for (long g = 0; g < s->slots * s->blocks; g++)
        for (long i = 0; i < length_of(s); i++) {
            float y[inner], part[inner], gated[inner], squares = 0;
            mix(s, m, skip, g, i, y, part, gated);
            for (long j = 0; j < inner; j++) squares += gated[j] * gated[j];
            float factor = rms_factor(squares, inner);
            P *to = out + row_of(s, g, i) * inner;
            for (long j = 0; j < inner; j++) to[j] = store(gated[j] * factor * weight[j]);
        }
}

// Sums over sequences are left to the caller: d_skip (g, h), d_weight (g, inner).
void gated_norm_gradient(
    int threads, const Scan *s, const Mixed *m, const float *skip, const float *weight,
    const P *d_out, const MixedGradient *d_m, float *d_skip, float *d_weight
) {
    long inner = inner_of(s), d = s->head_dim;
    IN_PARALLEL
    for (long g = 0; g < s->slots * s->blocks; g++) {
        float *of_skip = d_skip + g * s->heads, *of_weight = d_weight + g * inner;
        for (long h = 0; h < s->heads; h++) of_skip[h] = 0;
        for (long j = 0; j < inner; j++) of_weight[j] = 0;
        for (long i = 0; i < length_of(s); i++) {
            long k = g * s->chunks + i / s->chunk, l = i % s->chunk, at = g * length_of(s) + i;
            float y[inner], part[inner], gated[inner], d_gated[inner], squares = 0, along = 0;
            const P *of = d_out + row_of(s, g, i) * inner, *gate = m->gate + at * inner;
            P *d_gate = d_m->gate + at * inner;
            mix(s, m, skip, g, i, y, part, gated);
            for (long j = 0; j < inner; j++) squares += gated[j] * gated[j];
            float factor = rms_factor(squares, inner);
            for (long j = 0; j < inner; j++) {
                float normed = gated[j] * factor, share = up(of[j]);
                of_weight[j] += share * normed;
                along += share * weight[j] * normed;
            }
            along /= inner;
            for (long j = 0; j < inner; j++) {
                float shown = up(gate[j]);
                float of_gated
                    = factor * (up(of[j]) * weight[j] - gated[j] * factor * along);
                d_gate[j] = store(of_gated * y[j] * part[j] * (1.f + shown * (1.f - part[j])));
                d_gated[j] = of_gated * shown * part[j];
            }
            for (long h = 0; h < s->heads; h++) {
                long row = (k * s->chunk + l) * s->heads + h;
                const P *before = m->before + row * d, *x = m->x + at * inner + h * d;
                P *d_within = d_m->within + ((k * s->heads + h) * s->chunk + l) * d;
                P *d_before = d_m->before + row * d, *d_x = d_m->x + at * inner + h * d;
                float decay = fast_exp(m->reach[row]), of_decay = 0, through = 0, *of_y = d_gated + h * d;
                for (long j = 0; j < d; j++) {
                    of_decay += of_y[j] * up(before[j]);
                    through += of_y[j] * up(x[j]);
                    d_within[j] = store(of_y[j]);
                    d_before[j] = store(of_y[j] * decay);
                    d_x[j] = store(of_y[j] * skip[h]);
                }
                if (m->own)
                    for (long j = 0; j < d; j++) d_m->own[row * d + j] = store(of_y[j]);
                d_m->reach[row] = of_decay * decay;
                of_skip[h] += through;
            }
        }
    }
}
