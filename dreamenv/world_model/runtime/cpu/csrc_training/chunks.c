// The scan's arithmetic between its matrix products: decays within chunks, states between them, and
// what tokens of a reading stream get from their own frame. k counts chunks of all sequences (g, z).

#include "sizes.h"

// How many of a chunk's tokens token i sees: those up to itself, or those of earlier frames.
INLINE long seen_of(const Scan *s, long i, int reading) {
    return reading ? i / s->block_tokens * s->block_tokens : i + 1;
}

INLINE void by_head(const Scan *s, const float *from, float *to) {
    for (long i = 0; i < s->chunk; i++)
        for (long h = 0; h < s->heads; h++) to[h * s->chunk + i] = from[i * s->heads + h];
}

INLINE void by_token(const Scan *s, const float *from, float *to) {
    for (long i = 0; i < s->chunk; i++)
        for (long h = 0; h < s->heads; h++) to[i * s->heads + h] = from[h * s->chunk + i];
}

// weights (k, h, i, j) = scores (k, i, j) · exp(to_i − since_j), zero where i does not see j;
// to and since (k, i, h) are log decays.
void decay_scores(
    int threads, const Scan *s, int reading, const P *scores, const float *to, const float *since,
    P *weights
) {
    long size = s->chunk, heads = s->heads;
    IN_PARALLEL
    for (long k = 0; k < s->slots * s->blocks * s->chunks; k++) {
        float ends[heads * size], starts[heads * size];
        by_head(s, to + k * size * heads, ends);
        by_head(s, since + k * size * heads, starts);
        for (long h = 0; h < heads; h++)
            for (long i = 0; i < size; i++) {
                const P *score = scores + (k * size + i) * size;
                P *weight = weights + ((k * heads + h) * size + i) * size;
                float end = ends[h * size + i];
                long seen = seen_of(s, i, reading);
                for (long j = 0; j < seen; j++)
                    weight[j] = store(up(score[j]) * fast_exp(end - starts[h * size + j]));
                for (long j = seen; j < size; j++) weight[j] = 0;
            }
    }
}

// Adds to d_to and d_since, which may be the same.
void decay_scores_gradient(
    int threads, const Scan *s, int reading, const P *scores, const float *to, const float *since,
    const P *d_weights, P *d_scores, float *d_to, float *d_since
) {
    long size = s->chunk, heads = s->heads;
    IN_PARALLEL
    for (long k = 0; k < s->slots * s->blocks * s->chunks; k++) {
        float ends[heads * size], starts[heads * size], of_start[heads * size], total[size];
        by_head(s, to + k * size * heads, ends);
        by_head(s, since + k * size * heads, starts);
        for (long j = 0; j < heads * size; j++) of_start[j] = 0;
        for (long i = 0; i < size; i++) {
            const P *score = scores + (k * size + i) * size;
            long seen = seen_of(s, i, reading);
            for (long j = 0; j < size; j++) total[j] = 0;
            for (long h = 0; h < heads; h++) {
                const P *d = d_weights + ((k * heads + h) * size + i) * size;
                float end = ends[h * size + i], of_end = 0;
                float *start = starts + h * size, *of = of_start + h * size;
                for (long j = 0; j < seen; j++) {
                    float share = up(d[j]) * fast_exp(end - start[j]);
                    float of_decay = share * up(score[j]);
                    total[j] += share;
                    of[j] += of_decay;
                    of_end += of_decay;
                }
                d_to[(k * size + i) * heads + h] += of_end;
            }
            for (long j = 0; j < size; j++) d_scores[(k * size + i) * size + j] = store(total[j]);
        }
        for (long i = 0; i < size; i++)
            for (long h = 0; h < heads; h++)
                d_since[(k * size + i) * heads + h] -= of_start[h * size + i];
    }
}

// What tokens add to their chunk's end: weighted (k, i, h, d) = scaled (k, h, i, d) · exp(gap).
void weigh(int threads, const Scan *s, const P *scaled, const float *gap, P *weighted) {
    long size = s->chunk, heads = s->heads, d = s->head_dim;
    IN_PARALLEL
    for (long k = 0; k < s->slots * s->blocks * s->chunks; k++)
        for (long i = 0; i < size; i++)
            for (long h = 0; h < heads; h++) {
                float share = fast_exp(gap[(k * size + i) * heads + h]);
                const P *from = scaled + ((k * heads + h) * size + i) * d;
                P *to = weighted + ((k * size + i) * heads + h) * d;
                for (long j = 0; j < d; j++) to[j] = store(up(from[j]) * share);
            }
}

// Adds to d_scaled.
void weigh_gradient(
    int threads, const Scan *s, const P *scaled, const float *gap, const P *d_weighted, P *d_scaled,
    float *d_gap
) {
    long size = s->chunk, heads = s->heads, d = s->head_dim;
    IN_PARALLEL
    for (long k = 0; k < s->slots * s->blocks * s->chunks; k++)
        for (long i = 0; i < size; i++)
            for (long h = 0; h < heads; h++) {
                float share = fast_exp(gap[(k * size + i) * heads + h]), of_share = 0;
                const P *from = scaled + ((k * heads + h) * size + i) * d;
                const P *of = d_weighted + ((k * size + i) * heads + h) * d;
                P *to = d_scaled + ((k * heads + h) * size + i) * d;
                for (long j = 0; j < d; j++) {
                    of_share += up(of[j]) * up(from[j]);
                    to[j] = store(up(to[j]) + up(of[j]) * share);
                }
                d_gap[(k * size + i) * heads + h] = of_share * share;
            }
}

// before (k, n, h, d): the state that each chunk finds. `state` (g, n, h, d) stands before the first
// and in the end after the last; kept (k, h) is what a chunk leaves of it.
void carry(int threads, const Scan *s, const P *added, const float *kept, float *state, P *before) {
    long d = s->head_dim, heads = s->heads, rows = s->state_dim * heads;
    IN_PARALLEL
    for (long g = 0; g < s->slots * s->blocks; g++)
        for (long z = 0; z < s->chunks; z++)
            for (long r = 0; r < rows; r++) {
                long k = g * s->chunks + z;
                float share = kept[k * heads + r % heads], *now = state + (g * rows + r) * d;
                const P *plus = added + (k * rows + r) * d;
                P *found = before + (k * rows + r) * d;
                for (long j = 0; j < d; j++) {
                    found[j] = store(now[j]);
                    now[j] = now[j] * share + up(plus[j]);
                }
            }
}

// d_state (g, n, h, d) comes as the gradient of the last state and leaves as that of the first.
void carry_gradient(
    int threads, const Scan *s, const P *before, const float *kept, const P *d_before,
    float *d_state, P *d_added, float *d_kept
) {
    long d = s->head_dim, heads = s->heads, rows = s->state_dim * heads;
    IN_PARALLEL
    for (long g = 0; g < s->slots * s->blocks; g++)
        for (long z = s->chunks - 1; z >= 0; z--) {
            long k = g * s->chunks + z;
            for (long h = 0; h < heads; h++) d_kept[k * heads + h] = 0;
            for (long r = 0; r < rows; r++) {
                float share = kept[k * heads + r % heads], of_share = 0;
                float *of = d_state + (g * rows + r) * d;
                const P *found = before + (k * rows + r) * d, *also = d_before + (k * rows + r) * d;
                P *plus = d_added + (k * rows + r) * d;
                for (long j = 0; j < d; j++) {
                    plus[j] = store(of[j]);
                    of_share += of[j] * up(found[j]);
                    of[j] = of[j] * share + up(also[j]);
                }
                d_kept[k * heads + r % heads] += of_share;
            }
        }
}

INLINE float dot(const P *a, const P *b, long size) {
    float sum = 0;
    for (long j = 0; j < size; j++) sum += up(a[j]) * up(b[j]);
    return sum;
}

// y (k, i, h, d) = Σ_j (c_i · b_j) exp(own_i − own_j) scaled_j over tokens j ≤ i of i's frame; own
// (k, i, h) is the log decay since the frame began.
void read_own_frame(
    int threads, const Scan *s, const P *scaled, const P *b, const P *c, const float *own, P *y
) {
    long size = s->chunk, heads = s->heads, d = s->head_dim, n = s->state_dim;
    IN_PARALLEL
    for (long k = 0; k < s->slots * s->blocks * s->chunks; k++)
        for (long i = 0; i < size; i++) {
            long first = i / s->block_tokens * s->block_tokens;
            float sum[heads * d];
            for (long j = 0; j < heads * d; j++) sum[j] = 0;
            for (long j = first; j <= i; j++) {
                float score = dot(c + (k * size + i) * n, b + (k * size + j) * n, n);
                const float *to = own + (k * size + i) * heads, *since = own + (k * size + j) * heads;
                for (long h = 0; h < heads; h++) {
                    float weight = score * fast_exp(to[h] - since[h]);
                    const P *from = scaled + ((k * heads + h) * size + j) * d;
                    for (long e = 0; e < d; e++) sum[h * d + e] += weight * up(from[e]);
                }
            }
            for (long j = 0; j < heads * d; j++) y[(k * size + i) * heads * d + j] = store(sum[j]);
        }
}

void read_own_frame_gradient(
    int threads, const Scan *s, const P *scaled, const P *b, const P *c, const float *own,
    const P *d_y, P *d_scaled, P *d_b, P *d_c, float *d_own
) {
    long size = s->chunk, heads = s->heads, d = s->head_dim, n = s->state_dim;
    long tokens = s->block_tokens;
    IN_PARALLEL
    for (long k = 0; k < s->slots * s->blocks * s->chunks; k++)
        for (long first = 0; first < size; first += tokens) {
            float of_scaled[heads * d], of_b[n], of_c[tokens * n];
            float of_own[tokens * heads];
            for (long j = 0; j < tokens * n; j++) of_c[j] = 0;
            for (long j = 0; j < tokens * heads; j++) of_own[j] = 0;
            for (long j = 0; j < tokens; j++) {
                const P *key = b + (k * size + first + j) * n;
                const float *since = own + (k * size + first + j) * heads;
                for (long e = 0; e < heads * d; e++) of_scaled[e] = 0;
                for (long e = 0; e < n; e++) of_b[e] = 0;
                for (long i = j; i < tokens; i++) {
                    long at = k * size + first + i;
                    const P *query = c + at * n, *of = d_y + at * heads * d;
                    float score = dot(query, key, n), of_score = 0;
                    for (long h = 0; h < heads; h++) {
                        const P *from = scaled + ((k * heads + h) * size + first + j) * d;
                        float decay = fast_exp(own[at * heads + h] - since[h]);
                        float share = dot(of + h * d, from, d) * decay;
                        float weight = score * decay;
                        for (long e = 0; e < d; e++)
                            of_scaled[h * d + e] += weight * up(of[h * d + e]);
                        of_score += share;
                        of_own[i * heads + h] += share * score;
                        of_own[j * heads + h] -= share * score;
                    }
                    for (long e = 0; e < n; e++) of_b[e] += of_score * up(query[e]);
                    for (long e = 0; e < n; e++) of_c[i * n + e] += of_score * up(key[e]);
                }
                for (long e = 0; e < n; e++) d_b[(k * size + first + j) * n + e] = store(of_b[e]);
                for (long h = 0; h < heads; h++)
                    for (long e = 0; e < d; e++)
                        d_scaled[((k * heads + h) * size + first + j) * d + e]
                            = store(of_scaled[h * d + e]);
            }
            for (long e = 0; e < tokens * n; e++) d_c[(k * size + first) * n + e] = store(of_c[e]);
            for (long e = 0; e < tokens * heads; e++)
                d_own[(k * size + first) * heads + e] = of_own[e];
        }
}
