// The block-wise scan of one frame: everything between its two matrix products.

#include "layers.h"
#ifdef __SSE__
#include <xmmintrin.h>
#endif

// Columns of a state that are held in registers together lie in one head, or cover whole ones.
#if SSM_HEAD_DIM % 16 == 0
#define COLUMNS 16
#elif SSM_HEAD_DIM % 4 == 0
#define COLUMNS 4
#else
#define COLUMNS 1
#endif
typedef float Columns __attribute__((vector_size(4 * COLUMNS), aligned(4), may_alias));

// What a state forgets would end in denormal numbers, a hundred times slower than others.
#ifdef __SSE__
INLINE unsigned flush_denormals(void) {
    unsigned before = _mm_getcsr();
    _mm_setcsr(before | 0x8040);
    return before;
}
INLINE void restore_denormals(unsigned before) { _mm_setcsr(before); }
#else
INLINE unsigned flush_denormals(void) { return 0; }
INLINE void restore_denormals(unsigned before) { (void)before; }
#endif

// What a block's tokens bring: x, B and C after the convolution, and their steps and decays.
typedef struct {
    float mixed[TOKENS][CHANNELS];
    float step[TOKENS][SSM_HEADS];
    float reach[TOKENS][SSM_HEADS];           // log decay from the frame's start
    float faded[TOKENS][SSM_HEADS];           // its exponential
    float own[TOKENS][TOKENS][SSM_HEADS];     // what token i takes of token k ≤ i
    float weight[TOKENS][SSM_HEADS];          // with which a token enters the state
    float y[TOKENS][INNER];
} Block;

// Convolution over the tail of the frames before and the frame's own tokens.
INLINE void convolve(const int l, const P *projected, P *tail, const ScanWeights *w, int keep,
                     Block *b) {
    for (int i = 0; i < l; i++) {
        const P *source[TAPS];
        for (int k = 0; k < TAPS; k++) {
            int row = i + k - (TAPS - 1);
            source[k] = row < 0 ? tail + (row + TAPS - 1) * CHANNELS
                                : projected + row * PROJECTED + INNER;
        }
        for (int j = 0; j < CHANNELS; j++) {
            float sum = w->conv_bias[j];
            for (int k = 0; k < TAPS; k++) sum += w->taps[k * CHANNELS + j] * up(source[k][j]);
            b->mixed[i][j] = silu(sum);
        }
    }
    if (!keep) return;
    for (int k = 0; k < TAPS - 1; k++) {
        int row = l + k - (TAPS - 1);
        memmove(tail + k * CHANNELS,
                row < 0 ? tail + (row + TAPS - 1) * CHANNELS : projected + row * PROJECTED + INNER,
                CHANNELS * sizeof(P));
    }
}

// Steps and decays, and how much the block's tokens take of each other.
INLINE void weigh(const int l, const P *projected, const ScanWeights *w, Block *b) {
    for (int i = 0; i < l; i++) {
        const P *raw = projected + i * PROJECTED + INNER + CHANNELS;
        for (int h = 0; h < SSM_HEADS; h++) {
            b->step[i][h] = softplus(up(raw[h]) + w->step_bias[h]);
            b->reach[i][h] = b->step[i][h] * w->decay[h] + (i ? b->reach[i - 1][h] : 0.f);
            b->faded[i][h] = fast_exp(b->reach[i][h]);
        }
        const float *c = b->mixed[i] + INNER + STATE_DIM;
        for (int k = 0; k <= i; k++) {
            const float *bk = b->mixed[k] + INNER;
            float score = 0;
            for (int n = 0; n < STATE_DIM; n++) score += c[n] * bk[n];
            for (int h = 0; h < SSM_HEADS; h++) {
                b->own[i][k][h] = score * b->step[k][h] * fast_exp(b->reach[i][h] - b->reach[k][h]);
                if (i == k) b->own[i][k][h] += w->skip[h];
            }
        }
    }
    for (int i = 0; i < l; i++)
        for (int h = 0; h < SSM_HEADS; h++)
            b->weight[i][h] = b->step[i][h] * fast_exp(b->reach[l - 1][h] - b->reach[i][h]);
}

// y of `rows` tokens from token `i` on, in `wide` registers of columns from `at` on.
INLINE void read_columns(const int rows, const int wide, int i, int at, const float *state,
                         Block *b) {
    Columns y[rows][wide];
    IN_REGISTERS
    for (int m = 0; m < rows; m++)
        IN_REGISTERS
        for (int v = 0; v < wide; v++) y[m][v] = (Columns){0};
    for (int n = 0; n < STATE_DIM; n++) {
        const float *row = state + n * INNER + at;
        __builtin_prefetch(row + STATE_DIM * INNER, 0, 2);  // of the block after this one
        IN_REGISTERS
        for (int v = 0; v < wide; v++) {
            Columns s = *(const Columns *)(row + v * COLUMNS);
            IN_REGISTERS
            for (int m = 0; m < rows; m++) y[m][v] += b->mixed[i + m][INNER + STATE_DIM + n] * s;
        }
    }
    IN_REGISTERS
    for (int m = 0; m < rows; m++)
        IN_REGISTERS
        for (int v = 0; v < wide; v++) {
            int j = at + v * COLUMNS, h = j / SSM_HEAD_DIM;
            Columns sum = y[m][v] * b->faded[i + m][h];
            for (int k = 0; k <= i + m; k++)
                sum += b->own[i + m][k][h] * *(Columns *)(b->mixed[k] + j);
            *(Columns *)(b->y[i + m] + j) = sum;
        }
}

// The state after the block, in `wide` registers of columns from `at` on.
INLINE void renew_columns(const int l, const int wide, int at, float *state, Block *b) {
    Columns kept[wide], added[l][wide];
    IN_REGISTERS
    for (int v = 0; v < wide; v++) {
        int j = at + v * COLUMNS, h = j / SSM_HEAD_DIM;
        kept[v] = (Columns){0} + b->faded[l - 1][h];
        IN_REGISTERS
        for (int i = 0; i < l; i++) added[i][v] = *(Columns *)(b->mixed[i] + j) * b->weight[i][h];
    }
    for (int n = 0; n < STATE_DIM; n++)
        IN_REGISTERS
        for (int v = 0; v < wide; v++) {
            Columns *row = (Columns *)(state + n * INNER + at + v * COLUMNS);
            Columns sum = *row * kept[v];
            IN_REGISTERS
            for (int i = 0; i < l; i++) sum += b->mixed[i][INNER + n] * added[i][v];
            *row = sum;
        }
}

INLINE void finish(const int l, const P *projected, Block *b, P *out) {
    for (int i = 0; i < l; i++) {
        const P *gate = projected + i * PROJECTED;
        float *y = b->y[i], squares = 0;
        for (int j = 0; j < INNER; j++) {
            y[j] *= silu(up(gate[j]));
            squares += y[j] * y[j];
        }
        float factor = rms_factor(squares, INNER);
        for (int j = 0; j < INNER; j++) out[i * INNER + j] = down(y[j] * factor);
    }
}

// One block of `l` tokens. Sums of `together` tokens times `most` registers of columns are held in
// registers: few tokens with many columns, or many tokens with few. A state is renewed while what
// was read of it is near.
INLINE void scan_block(const int l, const int together, const int most, const P *projected, P *tail,
                       float *state, const ScanWeights *w, int keep, P *out) {
    const int wide = INNER / COLUMNS % most ? 1 : most;
    Block b;
    convolve(l, projected, tail, w, keep, &b);
    weigh(l, projected, w, &b);
    for (int at = 0; at < INNER; at += wide * COLUMNS) {
        for (int i = 0; i < l; i += together) read_columns(together, wide, i, at, state, &b);
        if (keep) renew_columns(l, wide, at, state, &b);
    }
    finish(l, projected, &b, out);
}

void scan_slot(
    int length, const P *projected, P *tails, float *states, const ScanWeights *w, int keep, P *out
) {
    unsigned before = flush_denormals();
    for (int g = 0; g < TOKENS / length; g++) {
        const P *in = projected + (long)g * length * PROJECTED;
        P *tail = tails + (long)g * (TAPS - 1) * CHANNELS, *to = out + (long)g * length * INNER;
        float *state = states + (long)g * STATE_DIM * INNER;
        if (length == 1) scan_block(1, 1, 8, in, tail, state, w, keep, to);
        else if (length == 4) scan_block(4, 4, 4, in, tail, state, w, keep, to);
        else if (TOKENS >= 16 && length == 16) scan_block(16, 16, 1, in, tail, state, w, keep, to);
        else scan_block(length, 1, 1, in, tail, state, w, keep, to);
    }
    restore_denormals(before);
}

// The same for all slots.
void scan(
    long slots, int threads, int length, const P *projected, P *tails, float *states,
    const ScanWeights *w, int keep, P *out
) {
    const long blocks = TOKENS / length;
    SLOTS_IN_PARALLEL
    for (long s = 0; s < slots; s++)
        scan_slot(
            length, projected + s * TOKENS * PROJECTED, tails + s * blocks * (TAPS - 1) * CHANNELS,
            states + s * blocks * STATE_DIM * INNER, w, keep, out + s * TOKENS * INNER
        );
}
