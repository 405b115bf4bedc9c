// `attend_slot` of attention.c with its products on tiles, 16 queries and 16 or 32 keys at a time.
//
// Scores are computed as (keys, queries), so that a register holds what a key is to 16 queries,
// and turned to be the left factor of the product with the values.

#if TILES
#include "numbers.h"
#if TILED_ATTENTION

#include "layers.h"
#include "tiles.h"

#define PADDED ((KEYS + 31) / 32 * 32)
typedef float Row __attribute__((vector_size(64), aligned(64), may_alias));

// 16 × 16 numbers of four bytes, rows to columns: pairs, fours, then quarters of registers.
INLINE void turn(__m512i r[16]) {
    __m512i t[16];
    IN_REGISTERS
    for (int i = 0; i < 16; i += 2) {
        t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
        t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
    }
    IN_REGISTERS
    for (int i = 0; i < 16; i += 4) {
        r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
        r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
        r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
        r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
    }
    IN_REGISTERS
    for (int i = 0; i < 4; i++) {
        __m512i a = _mm512_shuffle_i32x4(r[i], r[i + 4], 0x88);
        __m512i b = _mm512_shuffle_i32x4(r[i], r[i + 4], 0xdd);
        __m512i c = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0x88);
        __m512i d = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0xdd);
        t[i] = _mm512_shuffle_i32x4(a, c, 0x88);
        t[i + 4] = _mm512_shuffle_i32x4(b, d, 0x88);
        t[i + 8] = _mm512_shuffle_i32x4(a, c, 0xdd);
        t[i + 12] = _mm512_shuffle_i32x4(b, d, 0xdd);
    }
    IN_REGISTERS
    for (int i = 0; i < 16; i++) r[i] = t[i];
}

// Rotated by position or age, to the precision of products; x is HEAD_DIM / 16 registers.
INLINE void rotate(const __m512 *x, const float *cos, const float *sin, P *out) {
    const int half = HEAD_DIM / 32;
    IN_REGISTERS
    for (int i = 0; i < half; i++) {
        const int j = 16 * i, k = j + HEAD_DIM / 2;
        const __m512 a = x[i], b = x[i + half];
        store_half(out + j, a * _mm512_loadu_ps(cos + j) + b * _mm512_loadu_ps(sin + j));
        store_half(out + k, b * _mm512_loadu_ps(cos + k) + a * _mm512_loadu_ps(sin + k));
    }
}

typedef struct {
    P query[TOKENS][HEAD_DIM], key[KEYS][HEAD_DIM];
    P turned[HEAD_DIM / 32][16][32];           // 16 queries: pairs of dimensions, then queries
    P value[PADDED / 2][HEAD_DIM / 16][32];    // pairs of keys, then dimensions
    float score[KEYS][16];
    P weight[16][PADDED];
    float sum[16][HEAD_DIM];
} __attribute__((aligned(64))) Head;

// Normed and rotated queries and keys of the frame's own tokens; `fresh` keys are not rotated.
INLINE void take_own(const P *qkv, const AttentionWeights *w, P fresh[TOKENS][WIDTH], int h,
                     Head *head) {
    for (int i = 0; i < TOKENS; i++)
        for (int part = 0; part < 2; part++) {
            const P *from = qkv + i * 3 * WIDTH + part * WIDTH + h * HEAD_DIM;
            __m512 x[HEAD_DIM / 16], squares = _mm512_setzero_ps();
            IN_REGISTERS
            for (int j = 0; j < HEAD_DIM / 16; j++) {
                x[j] = load_halves(from + 16 * j);
                squares += x[j] * x[j];
            }
            const float factor = rms_factor(_mm512_reduce_add_ps(squares), HEAD_DIM);
            IN_REGISTERS
            for (int j = 0; j < HEAD_DIM / 16; j++)
                x[j] *= factor * _mm512_loadu_ps(w->norm + part * HEAD_DIM + 16 * j);
            const long at = (2 * i + part) * HEAD_DIM;
            rotate(x, w->own_cos + at, w->own_sin + at,
                   part ? head->key[WINDOW * TOKENS + i] : head->query[i]);
            IN_REGISTERS
            for (int j = 0; j < HEAD_DIM / 16 * part; j++)
                store_half(fresh[i] + h * HEAD_DIM + 16 * j, x[j]);
        }
}

// Values of two keys in turn, dimension by dimension.
INLINE void pair_values(const P *first, const P *second, P to[HEAD_DIM / 16][32]) {
    for (int d = 0; d < HEAD_DIM; d += 32) {
        __m512i a = _mm512_loadu_si512(first + d), b = _mm512_loadu_si512(second + d);
        __m512i low = _mm512_unpacklo_epi16(a, b), high = _mm512_unpackhi_epi16(a, b);
        const __m512i early = _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11);
        const __m512i late = _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15);
        _mm512_store_si512(to[d / 16], _mm512_permutex2var_epi64(low, early, high));
        _mm512_store_si512(to[d / 16 + 1], _mm512_permutex2var_epi64(low, late, high));
    }
}

// Scores of keys from `first` on for 16 queries, (keys, queries).
INLINE void score_keys(int first, const P (*query)[HEAD_DIM], Head *head) {
    for (int d = 0; d < HEAD_DIM / 32; d++) {
        __m512i r[16];
        IN_REGISTERS
        for (int i = 0; i < 16; i++) r[i] = _mm512_loadu_si512(query[i] + 32 * d);
        turn(r);
        IN_REGISTERS
        for (int i = 0; i < 16; i++) _mm512_store_si512(head->turned[d][i], r[i]);
    }
    __asm__ volatile("" ::: "memory");  // what tiles load must have been written
    for (int k = first; k < KEYS; k += 16) {
        _tile_zero(0);
        for (int d = 0; d < HEAD_DIM / 32; d++) {
            _tile_loadd(1, head->key[k] + 32 * d, 2 * HEAD_DIM);
            _tile_loadd(2, head->turned[d], 64);
            _tile_dpbf16ps(0, 1, 2);
        }
        _tile_stored(0, head->score[k], 64);
    }
    __asm__ volatile("" ::: "memory");
}

// Scores to weights, (queries, keys), zero before `first` and after the last; returns their sums.
INLINE Row weigh_keys(int first, Head *head) {
    Row most = *(Row *)head->score[first], total = {0};
    for (int k = first + 1; k < KEYS; k++) {
        Row s = *(Row *)head->score[k];
        most = (Row)_mm512_max_ps((__m512)most, (__m512)s);
    }
    for (int k = first; k < KEYS; k++) {
        float *s = head->score[k];
        for (int i = 0; i < 16; i++) s[i] = fast_exp(s[i] - most[i]);
        total += *(Row *)s;
    }
    for (int k = first / 32 * 32; k < PADDED; k += 16) {
        __m512i r[16];
        if (k >= first && k < KEYS) {
            IN_REGISTERS
            for (int i = 0; i < 16; i++) r[i] = _mm512_load_si512(head->score[k + i]);
            turn(r);
        } else {
            IN_REGISTERS
            for (int i = 0; i < 16; i++) r[i] = _mm512_setzero_si512();
        }
        IN_REGISTERS
        for (int i = 0; i < 16; i++)
            _mm256_store_si256((__m256i *)(head->weight[i] + k),
                               (__m256i)_mm512_cvtneps_pbh((__m512)r[i]));
    }
    return total;
}

INLINE void sum_values(int first, Head *head) {
    __asm__ volatile("" ::: "memory");
    for (int d = 0; d < HEAD_DIM / 16; d++) {
        _tile_zero(0);
        for (int k = first / 32 * 32; k < PADDED; k += 32) {
            _tile_loadd(1, head->weight[0] + k, 2 * PADDED);
            _tile_loadd(2, head->value[k / 2][d], 4 * HEAD_DIM);
            _tile_dpbf16ps(0, 1, 2);
        }
        _tile_stored(0, head->sum[0] + 16 * d, 4 * HEAD_DIM);
    }
    __asm__ volatile("" ::: "memory");
}

// Call the share of head h and key k of the next slot's keys or values from memory: a head's own lie
// far apart, which memory is slow at.
INLINE void call_next(const P *cache, int h, int k) {
    const P *share = cache + WINDOW * TOKENS * WIDTH + (h * WINDOW * TOKENS + k) * HEAD_DIM;
    for (int j = 0; j < HEAD_DIM; j += 32) __builtin_prefetch(share + j, 0, 2);
}

void attend_slot(
    const P *qkv, P *keys, P *values, int64_t frames, const AttentionWeights *w, int keep, P *out
) {
    const long frame = TOKENS * WIDTH;
    const int first = frames < WINDOW ? (WINDOW - (int)frames) * TOKENS : 0;
    P fresh[TOKENS][WIDTH];
    Head head;
    for (int h = 0; h < HEADS; h++) {
        take_own(qkv, w, fresh, h, &head);
        for (int k = first; k < WINDOW * TOKENS; k++) {
            const P *from = keys + k * WIDTH + h * HEAD_DIM;
            __m512 x[HEAD_DIM / 16];
            IN_REGISTERS
            for (int j = 0; j < HEAD_DIM / 16; j++) x[j] = load_halves(from + 16 * j);
            call_next(keys, h, k);
            rotate(x, w->cos + k * HEAD_DIM, w->sin + k * HEAD_DIM, head.key[k]);
        }
        for (int k = first; k < WINDOW * TOKENS; k += 2) {
            const P *from = values + k * WIDTH + h * HEAD_DIM;
            call_next(values, h, k);
            call_next(values, h, k + 1);
            pair_values(from, from + WIDTH, head.value[k / 2]);
        }
        for (int i = 0; i < TOKENS; i += 2) {
            const P *from = qkv + (3 * i + 2) * WIDTH + h * HEAD_DIM;
            pair_values(from, from + 3 * WIDTH, head.value[(WINDOW * TOKENS + i) / 2]);
        }
        memset(head.value[first / 32 * 16], 0, (first % 32) / 2 * sizeof head.value[0]);
        memset(head.value[KEYS / 2], 0, (PADDED - KEYS) / 2 * sizeof head.value[0]);
        for (int i = 0; i < TOKENS; i += 16) {
            score_keys(first, head.query + i, &head);
            Row total = weigh_keys(first, &head);
            sum_values(first, &head);
            for (int m = 0; m < 16; m++) {
                const float share = 1.f / total[m];
                P *to = out + (i + m) * WIDTH + h * HEAD_DIM;
                for (int j = 0; j < HEAD_DIM; j += 16)
                    store_half(to + j, _mm512_load_ps(head.sum[m] + j) * share);
            }
        }
    }
    if (keep) {
        memmove(keys, keys + frame, (WINDOW - 1) * frame * sizeof(P));
        memmove(values, values + frame, (WINDOW - 1) * frame * sizeof(P));
        memcpy(keys + (WINDOW - 1) * frame, fresh, sizeof fresh);
        for (int i = 0; i < TOKENS; i++)
            memcpy(values + (WINDOW - 1) * frame + i * WIDTH,
                   qkv + i * 3 * WIDTH + 2 * WIDTH, WIDTH * sizeof(P));
    }
}

#endif
#endif
