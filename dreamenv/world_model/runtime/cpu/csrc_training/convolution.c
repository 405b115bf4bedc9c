// From the projection of tokens to what the scan takes: rows gathered into sequences and split, the
// causal convolution with SiLU, steps, and x · step by chunk and head.

#include "sizes.h"

SIZE_OF(Scan)

// One stream's projection and what is made of it.
typedef struct {
    const P *projected;  // (rows, gate | x B C | raw steps)
    P *gate, *x;         // (g, i, inner)
    P *scaled;           // x · step, (g, z, h, chunk, d)
    P *b, *c;            // (g, z · chunk, state_dim)
    float *step;         // (g, z · chunk, h), zero in what is padded
} Split;

SIZE_OF(Split)

// Gradients of a `Split`; d_projected is written, the others are read.
typedef struct {
    const P *gate, *x, *scaled, *b, *c;
    const float *step;
    P *projected;
} SplitGradient;

SIZE_OF(SplitGradient)

// What a tap sees: position i of a stream whose frame began at `own`, else of the writing stream.
INLINE const P *seen_by(
    const Scan *s, const Split *write, const Split *stream, const P *tail, long g, long own, long i
) {
    if (i < 0) return tail + (g * (s->taps - 1) + s->taps - 1 + i) * channels_of(s);
    const P *from = (i >= own ? stream : write)->projected;
    return from + row_of(s, g, i) * projected_of(s) + inner_of(s);
}

INLINE long frame_start(const Scan *s, const Split *write, const Split *stream, long i) {
    return stream == write ? 0 : i / s->block_tokens * s->block_tokens;
}

// The convolution of token i before SiLU, into sum (channels).
INLINE void convolve(
    const Scan *s, const Split *write, const Split *stream, const P *tail, const float *weight,
    const float *bias, long g, long i, float *restrict sum
) {
    long channels = channels_of(s), own = frame_start(s, write, stream, i);
    if (s->taps == 4) {
        const P *a = seen_by(s, write, stream, tail, g, own, i - 3);
        const P *b = seen_by(s, write, stream, tail, g, own, i - 2);
        const P *c = seen_by(s, write, stream, tail, g, own, i - 1);
        const P *e = seen_by(s, write, stream, tail, g, own, i);
        const float *u = weight, *v = u + channels, *w = v + channels, *y = w + channels;
        for (long j = 0; j < channels; j++)
            sum[j] = bias[j] + u[j] * up(a[j]) + v[j] * up(b[j]) + w[j] * up(c[j]) + y[j] * up(e[j]);
        return;
    }
    for (long j = 0; j < channels; j++) sum[j] = bias[j];
    for (long tap = 0; tap < s->taps; tap++) {
        const P *a = seen_by(s, write, stream, tail, g, own, i - s->taps + 1 + tap);
        for (long j = 0; j < channels; j++) sum[j] += weight[tap * channels + j] * up(a[j]);
    }
}

INLINE P *in_chunks(const Scan *s, P *scaled, long g, long i, long h) {
    long z = g * s->chunks + i / s->chunk;
    return scaled + ((z * s->heads + h) * s->chunk + i % s->chunk) * s->head_dim;
}

INLINE void split_token(
    const Scan *s, const Split *write, const Split *to, const P *tail, const float *weight,
    const float *bias, const float *step_bias, long g, long i
) {
    long inner = inner_of(s), n = s->state_dim, padded = s->chunks * s->chunk;
    const P *row = to->projected + row_of(s, g, i) * projected_of(s);
    const P *raw = row + inner + channels_of(s);
    float act[channels_of(s)];
    convolve(s, write, to, tail, weight, bias, g, i, act);
    for (long j = 0; j < channels_of(s); j++) act[j] *= sigmoid(act[j]);
    long at = g * length_of(s) + i, kept = g * padded + i;
    memcpy(to->gate + at * inner, row, inner * sizeof(P));
    for (long j = 0; j < inner; j++) to->x[at * inner + j] = store(act[j]);
    for (long j = 0; j < n; j++) to->b[kept * n + j] = store(act[inner + j]);
    for (long j = 0; j < n; j++) to->c[kept * n + j] = store(act[inner + n + j]);
    for (long h = 0; h < s->heads; h++) {
        float step = to->step[kept * s->heads + h] = softplus(up(raw[h]) + step_bias[h]);
        P *scaled = in_chunks(s, to->scaled, g, i, h);
        for (long j = 0; j < s->head_dim; j++)
            scaled[j] = store(act[h * s->head_dim + j] * step);
    }
}

// `tail` (g, taps − 1, channels) stands before the writing stream.
void split(
    int threads, const Scan *s, const Split *write, const Split *read, const P *tail,
    const float *weight, const float *bias, const float *step_bias
) {
    IN_PARALLEL
    for (long g = 0; g < s->slots * s->blocks; g++)
        for (long i = 0; i < length_of(s); i++) {
            split_token(s, write, write, tail, weight, bias, step_bias, g, i);
            if (read) split_token(s, write, read, tail, weight, bias, step_bias, g, i);
        }
}

// Gradient of one token up to the convolution's sum, into d_sum; gate and steps are finished.
INLINE void split_token_gradient(
    const Scan *s, const Split *write, const Split *of, const SplitGradient *d, const P *tail,
    const float *weight, const float *bias, const float *step_bias, long g, long i,
    float *restrict d_sum, float *restrict d_weight, float *restrict d_bias, float *d_step_bias
) {
    long inner = inner_of(s), channels = channels_of(s), n = s->state_dim;
    long at = g * length_of(s) + i, kept = g * s->chunks * s->chunk + i;
    P *row = d->projected + row_of(s, g, i) * projected_of(s);
    const P *raw = of->projected + row_of(s, g, i) * projected_of(s) + inner + channels;
    float sum[channels], share[channels], d_act[channels];
    convolve(s, write, of, tail, weight, bias, g, i, sum);
    for (long j = 0; j < channels; j++) share[j] = sigmoid(sum[j]);
    memcpy(row, d->gate + at * inner, inner * sizeof(P));
    for (long h = 0; h < s->heads; h++) {
        const P *scaled = in_chunks(s, (P *)d->scaled, g, i, h), *direct = d->x + at * inner;
        float step = of->step[kept * s->heads + h], of_step = 0;
        for (long j = 0, k = h * s->head_dim; j < s->head_dim; j++, k++) {
            of_step += up(scaled[j]) * sum[k] * share[k];
            d_act[k] = up(direct[k]) + up(scaled[j]) * step;
        }
        float slope = sigmoid(up(raw[h]) + step_bias[h]);
        float of_raw = (of_step + d->step[kept * s->heads + h]) * slope;
        row[inner + channels + h] = store(of_raw);
        d_step_bias[h] += of_raw;
    }
    for (long j = 0; j < n; j++) d_act[inner + j] = up(d->b[kept * n + j]);
    for (long j = 0; j < n; j++) d_act[inner + n + j] = up(d->c[kept * n + j]);
    for (long j = 0; j < channels; j++) {
        d_sum[j] = d_act[j] * share[j] * (1.f + sum[j] * (1.f - share[j]));
        d_bias[j] += d_sum[j];
    }
    long own = frame_start(s, write, of, i);
    if (s->taps == 4) {
        const P *a = seen_by(s, write, of, tail, g, own, i - 3);
        const P *b = seen_by(s, write, of, tail, g, own, i - 2);
        const P *c = seen_by(s, write, of, tail, g, own, i - 1);
        const P *e = seen_by(s, write, of, tail, g, own, i);
        float *u = d_weight, *v = u + channels, *w = v + channels, *y = w + channels;
        for (long j = 0; j < channels; j++) {
            u[j] += d_sum[j] * up(a[j]);
            v[j] += d_sum[j] * up(b[j]);
            w[j] += d_sum[j] * up(c[j]);
            y[j] += d_sum[j] * up(e[j]);
        }
        return;
    }
    for (long tap = 0; tap < s->taps; tap++) {
        const P *a = seen_by(s, write, of, tail, g, own, i - s->taps + 1 + tap);
        for (long j = 0; j < channels; j++) d_weight[tap * channels + j] += d_sum[j] * up(a[j]);
    }
}

// What token i of a stream gets from the tokens up to taps − 1 later, of which `ring` has d_sum.
INLINE void spread(
    const Scan *s, const float *weight, const float *ring, const float *read_ring, int reading,
    long i, P *out
) {
    long channels = channels_of(s), frame = i / s->block_tokens;
    float total[channels];
    for (long j = 0; j < channels; j++) total[j] = 0;
    for (long ahead = 0; ahead < s->taps && i + ahead < length_of(s); ahead++) {
        const float *w = weight + (s->taps - 1 - ahead) * channels;
        long place = (i + ahead) % s->taps * channels;
        int same = (i + ahead) / s->block_tokens == frame;
        if (!reading)
            for (long j = 0; j < channels; j++) total[j] += w[j] * ring[place + j];
        if (read_ring && same == reading)
            for (long j = 0; j < channels; j++) total[j] += w[j] * read_ring[place + j];
    }
    for (long j = 0; j < channels; j++) out[j] = store(total[j]);
}

// Sums over sequences are left to the caller: d_weight (g, taps, channels), d_bias (g, channels),
// d_step_bias (g, h).
void split_gradient(
    int threads, const Scan *s, const Split *write, const Split *read, const P *tail,
    const float *weight, const float *bias, const float *step_bias, const SplitGradient *d_write,
    const SplitGradient *d_read, float *d_weight, float *d_bias, float *d_step_bias
) {
    long channels = channels_of(s), length = length_of(s);
    IN_PARALLEL
    for (long g = 0; g < s->slots * s->blocks; g++) {
        float ring[2 * s->taps * channels], *read_ring = ring + s->taps * channels;
        float *dw = d_weight + g * s->taps * channels, *db = d_bias + g * channels;
        float *ds = d_step_bias + g * s->heads;
        memset(dw, 0, s->taps * channels * sizeof(float));
        memset(db, 0, channels * sizeof(float));
        memset(ds, 0, s->heads * sizeof(float));
        for (long i = 0; i < length + s->taps - 1; i++) {
            long place = i % s->taps * channels, done = i - s->taps + 1;
            if (i < length) {
                split_token_gradient(s, write, write, d_write, tail, weight, bias, step_bias, g, i,
                                     ring + place, dw, db, ds);
                if (read)
                    split_token_gradient(s, write, read, d_read, tail, weight, bias, step_bias, g,
                                         i, read_ring + place, dw, db, ds);
            }
            if (done < 0) continue;
            long at = row_of(s, g, done) * projected_of(s) + inner_of(s);
            spread(s, weight, ring, read ? read_ring : NULL, 0, done, d_write->projected + at);
            if (read) spread(s, weight, ring, read_ring, 1, done, d_read->projected + at);
        }
    }
}
