// Attention of frames to themselves and the `window` frames before, from projections to heads'
// outputs: norm and rotation of queries and keys, softmax, and all gradients.
//
// A slot's head walks through its frames with the keys and values of the last few in a ring, which
// the first-level cache holds. A reading stream sees its own frame in place of the written one.

#include "attention.h"

SIZE_OF(Attention)

// Frames that one head of one slot still sees, and what they get back.
typedef struct {
    float *keys, *values, *factors;  // (window + 2, KEY_ROWS, d) and, of the norms, (…, KEY_ROWS)
    float *d_keys, *d_values;
    long first;                      // the earliest frame that there is
} Ring;

#define RING(a, d) \
    long ring_size = ((a)->window + 2) * KEY_ROWS(a); \
    float ring_keys[ring_size * (d)], ring_values[ring_size * (d)], ring_factors[ring_size]; \
    memset(ring_keys, 0, sizeof ring_keys); \
    memset(ring_values, 0, sizeof ring_values);

INLINE long place_of(const Attention *a, long frame) { return (frame + a->window) % (a->window + 1); }

// Rows of queries (part 0), keys (1) or values (2) of a projection (rows, 3, h, d).
INLINE P *part_of(const Attention *a, long d, const P *qkv, long slot, long t, long part, long h) {
    return (P *)qkv + (((slot * a->frames + t) * a->tokens * 3 + part) * a->heads + h) * d;
}

INLINE void load(
    const Attention *a, long d, Ring *r, long place, const P *keys, const P *values, long stride,
    long frame, int cached
) {
    long at = place * KEY_ROWS(a);
    turned(a, d, keys, stride, frame, a->key_weight, cached, 1.f, r->keys + at * d,
           r->factors + at);
    for (long i = 0; i < a->tokens; i++)
        for (long j = 0; j < d; j++) r->values[(at + i) * d + j] = up(values[i * stride + j]);
}

INLINE void load_past(const Attention *a, long d, Ring *r, long slot, long h) {
    long seen = a->seen[slot] < a->window ? a->seen[slot] : a->window;
    r->first = -seen;
    for (long f = r->first; f < 0; f++) {
        long at = (((slot * a->window + a->window + f) * a->tokens) * a->heads + h) * d;
        load(a, d, r, place_of(a, f), a->past_keys + at, a->past_values + at, a->heads * d, f, 1);
    }
}

// Places in the ring that the queries of frame t see; returns how many.
INLINE long places_seen(const Attention *a, const Ring *r, long t, int reading, long *places) {
    long count = 0, earliest = t - a->window > r->first ? t - a->window : r->first;
    for (long f = earliest; f < t + !reading; f++) places[count++] = place_of(a, f);
    if (reading) places[count++] = a->window + 1;
    return count;
}

// Rotated queries (tokens, d), across (d, lanes), and their attention to the places seen.
INLINE void look(
    const Attention *a, long d, const Ring *r, const P *query, long t, const long *places,
    long count, float *rows, float *factors, float *p
) {
    long keys = KEY_ROWS(a), lanes = QUERY_LANES(a);
    float columns[d * lanes];
    turned(a, d, query, 3 * a->heads * d, t, a->query_weight, 0, 1.f / sqrtf(d), rows, factors);
    across(a, d, rows, columns);
    for (long f = 0; f < count; f++)
        multiply(keys, lanes, d, r->keys + places[f] * keys * d, columns, p + f * keys * lanes);
    softmax(a, count, p);
}

INLINE void attend_frame(
    const Attention *a, long d, const Ring *r, const P *query, long t, int reading, P *out
) {
    long keys = KEY_ROWS(a), lanes = QUERY_LANES(a), places[a->window + 2];
    long count = places_seen(a, r, t, reading, places);
    float rows[a->tokens * d], factors[a->tokens], columns[d * lanes];
    float p[(a->window + 1) * keys * lanes];
    look(a, d, r, query, t, places, count, rows, factors, p);
    memset(columns, 0, sizeof columns);
    for (long f = 0; f < count; f++)
        gather(keys, lanes, d, r->values + places[f] * keys * d, p + f * keys * lanes, columns);
    for (long i = 0; i < a->tokens; i++)
        for (long j = 0; j < d; j++) out[i * a->heads * d + j] = store(columns[j * lanes + i]);
}

INLINE void attend_head(
    const Attention *a, long d, long slot, long h, const P *write, const P *read, P *out_write,
    P *out_read
) {
    RING(a, d)
    Ring r = {ring_keys, ring_values, ring_factors, NULL, NULL, 0};
    long stride = 3 * a->heads * d;
    load_past(a, d, &r, slot, h);
    for (long t = 0; t < a->frames; t++) {
        long out = (((slot * a->frames + t) * a->tokens) * a->heads + h) * d;
        load(a, d, &r, place_of(a, t), part_of(a, d, write, slot, t, 1, h),
             part_of(a, d, write, slot, t, 2, h), stride, t, 0);
        attend_frame(a, d, &r, part_of(a, d, write, slot, t, 0, h), t, 0, out_write + out);
        if (!read) continue;
        load(a, d, &r, a->window + 1, part_of(a, d, read, slot, t, 1, h),
             part_of(a, d, read, slot, t, 2, h), stride, t, 0);
        attend_frame(a, d, &r, part_of(a, d, read, slot, t, 0, h), t, 1, out_read + out);
    }
}

INLINE void attend_frame_gradient(
    const Attention *a, long d, Ring *r, const P *query, long t, int reading, const P *d_out,
    P *d_query, float *d_weight
) {
    long keys = KEY_ROWS(a), lanes = QUERY_LANES(a), places[a->window + 2];
    long count = places_seen(a, r, t, reading, places);
    float rows[a->tokens * d], of[a->tokens * d], d_rows[a->tokens * d], factors[a->tokens];
    float columns[d * lanes], p[(a->window + 1) * keys * lanes], d_p[(a->window + 1) * keys * lanes];
    look(a, d, r, query, t, places, count, rows, factors, p);
    for (long i = 0; i < a->tokens; i++)
        for (long j = 0; j < d; j++) of[i * d + j] = up(d_out[i * a->heads * d + j]);
    across(a, d, of, columns);
    for (long f = 0; f < count; f++) {
        long at = places[f] * keys * d, part = f * keys * lanes;
        multiply(keys, lanes, d, r->values + at, columns, d_p + part);
        scatter(a, d, p + part, of, r->d_values + at);
    }
    softmax_gradient(a, count, p, d_p);
    memset(columns, 0, sizeof columns);
    for (long f = 0; f < count; f++) {
        long at = places[f] * keys * d, part = f * keys * lanes;
        gather(keys, lanes, d, r->keys + at, d_p + part, columns);
        scatter(a, d, d_p + part, rows, r->d_keys + at);
    }
    for (long i = 0; i < a->tokens; i++)
        for (long j = 0; j < d; j++) d_rows[i * d + j] = columns[j * lanes + i];
    turned_gradient(a, d, query, 3 * a->heads * d, t, a->query_weight, 1.f / sqrtf(d), factors,
                    d_rows, d_query, d_weight);
}

// Hands a frame's keys and values what they got back, and clears their place.
INLINE void unload(
    const Attention *a, long d, Ring *r, long place, long t, const P *keys, P *d_keys, P *d_values,
    float *d_weight
) {
    long at = place * KEY_ROWS(a), stride = 3 * a->heads * d;
    turned_gradient(a, d, keys, stride, t, a->key_weight, 1.f, r->factors + at, r->d_keys + at * d,
                    d_keys, d_weight);
    for (long i = 0; i < a->tokens; i++)
        for (long j = 0; j < d; j++) d_values[i * stride + j] = store(r->d_values[(at + i) * d + j]);
}

INLINE void clear(const Attention *a, long d, Ring *r, long place) {
    long size = KEY_ROWS(a) * d;
    memset(r->d_keys + place * size, 0, size * sizeof(float));
    memset(r->d_values + place * size, 0, size * sizeof(float));
}

INLINE void attend_head_gradient(
    const Attention *a, long d, long slot, long h, const P *write, const P *read,
    const P *of_write, const P *of_read, P *d_write, P *d_read, float *d_query, float *d_key
) {
    RING(a, d)
    float d_keys[ring_size * d], d_values[ring_size * d];
    Ring r = {ring_keys, ring_values, ring_factors, d_keys, d_values, 0};
    long stride = 3 * a->heads * d, own = a->window + 1;
    memset(d_keys, 0, sizeof d_keys);
    memset(d_values, 0, sizeof d_values);
    load_past(a, d, &r, slot, h);
    for (long t = 0; t < a->frames + a->window + 1; t++) {
        long leaving = t - a->window - 1, place = place_of(a, t);
        if (leaving >= 0)
            unload(a, d, &r, place, leaving, part_of(a, d, write, slot, leaving, 1, h),
                   part_of(a, d, d_write, slot, leaving, 1, h),
                   part_of(a, d, d_write, slot, leaving, 2, h), d_key);
        clear(a, d, &r, place);
        if (t >= a->frames) continue;
        long out = (((slot * a->frames + t) * a->tokens) * a->heads + h) * d;
        load(a, d, &r, place, part_of(a, d, write, slot, t, 1, h),
             part_of(a, d, write, slot, t, 2, h), stride, t, 0);
        attend_frame_gradient(a, d, &r, part_of(a, d, write, slot, t, 0, h), t, 0, of_write + out,
                              part_of(a, d, d_write, slot, t, 0, h), d_query);
        if (!read) continue;
        const P *keys = part_of(a, d, read, slot, t, 1, h);
        load(a, d, &r, own, keys, part_of(a, d, read, slot, t, 2, h), stride, t, 0);
        attend_frame_gradient(a, d, &r, part_of(a, d, read, slot, t, 0, h), t, 1, of_read + out,
                              part_of(a, d, d_read, slot, t, 0, h), d_query);
        unload(a, d, &r, own, t, keys, part_of(a, d, d_read, slot, t, 1, h),
               part_of(a, d, d_read, slot, t, 2, h), d_key);
        clear(a, d, &r, own);
    }
}

// Loops are unrolled for the usual size; others take the second way.
#define FOR_HEAD_DIM(call) \
    if (a->head_dim == 32) { enum { D = 32 }; call; } else { long D = a->head_dim; call; }

// Projections and gradients (rows, 3, h, d); outputs (rows, h, d).
void attend_window(
    int threads, const Attention *a, const P *write, const P *read, P *out_write, P *out_read
) {
    IN_PARALLEL
    for (long k = 0; k < a->slots * a->heads; k++) {
        FOR_HEAD_DIM(attend_head(a, D, k / a->heads, k % a->heads, write, read, out_write, out_read))
    }
}

// Sums are left to the caller: d_query_weight and d_key_weight (slots, h, d), zero before.
void attend_window_gradient(
    int threads, const Attention *a, const P *write, const P *read, const P *of_write,
    const P *of_read, P *d_write, P *d_read, float *d_query_weight, float *d_key_weight
) {
    IN_PARALLEL
    for (long k = 0; k < a->slots * a->heads; k++) {
        long at = k * a->head_dim;
        FOR_HEAD_DIM(attend_head_gradient(a, D, k / a->heads, k % a->heads, write, read, of_write,
                                          of_read, d_write, d_read, d_query_weight + at,
                                          d_key_weight + at))
    }
}
