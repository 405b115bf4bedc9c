// What the kernels of training share.
//
// Forward and gradient of everything between the matrix products of a layer, for windows of frames.
// What is computed is written in network/layers.py, ssd.py and attention.py; arithmetic is float,
// what lies in memory between products (P) is bfloat16 or float. Every sum is taken in an order
// that does not depend on the number of threads.
//
// Notation: g a sequence, which is a block of a slot; i a token of it; h a head of d numbers; z a
// chunk of `chunk` tokens. A reading stream may be NULL wherever it comes second.

#ifndef SIZES_H
#define SIZES_H

#include "../csrc/numbers.h"

#define IN_PARALLEL _Pragma("omp parallel for num_threads(threads) if (threads > 1) schedule(static)")

// A scan's sizes, as Python has them.
typedef struct {
    long slots, frames, tokens;         // of a frame
    long blocks, block_tokens;          // of a slot, of a block
    long heads, head_dim, state_dim, taps;
    long chunk, chunks;                 // tokens of a chunk, chunks of a sequence; the last padded
    const int32_t *order;               // block tokens as tokens of the frame, (blocks, block_tokens)
} Scan;

INLINE long inner_of(const Scan *s) { return s->heads * s->head_dim; }
INLINE long channels_of(const Scan *s) { return s->heads * s->head_dim + 2 * s->state_dim; }
INLINE long projected_of(const Scan *s) { return inner_of(s) + channels_of(s) + s->heads; }
INLINE long length_of(const Scan *s) { return s->frames * s->block_tokens; }

// The row, in (slot, frame, token), of token i of sequence g.
INLINE long row_of(const Scan *s, long g, long i) {
    long slot = g / s->blocks, block = g % s->blocks;
    long frame = i / s->block_tokens, place = i % s->block_tokens;
    return (slot * s->frames + frame) * s->tokens + s->order[block * s->block_tokens + place];
}

// What is rounded to bfloat16 afterwards needs no more than these: 1/x as in numbers.h but within
// 1e-5, and numbers half-way between two go away from zero.
#if HALF
INLINE float inverse(float x) {
    int32_t bits;
    memcpy(&bits, &x, 4);
    bits = 0x7ef311c7 - bits;
    float guess;
    memcpy(&guess, &bits, 4);
    guess *= 2.f - x * guess;
    return guess * (2.f - x * guess);
}
INLINE P store(float wide) {
    uint32_t bits;
    memcpy(&bits, &wide, 4);
    return (P)((bits + 0x8000) >> 16);
}
#else
INLINE float inverse(float x) { return reciprocal(x); }
INLINE P store(float wide) { return wide; }
#endif

INLINE float sigmoid(float x) { return inverse(1.f + fast_exp(-x)); }

#endif
