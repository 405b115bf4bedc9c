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
    float added[TOKENS][INNER];               // and what it brings then, beside B
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

// Rows of a state taken together: as many as leave registers for what they are multiplied with.
#if STATE_DIM % 8 == 0
#define DEEP 8
#else
#define DEEP 4
#endif
#define AHEAD (4 * DEEP)  // rows that are called from memory before their turn, of the next block too

// Tokens' y and, with `keep`, the state after the block. A state is read once, row after row, as
// memory is fastest: sums of what its rows bring stay in the nearest cache, and rows are renewed
// while they are in registers.
INLINE void sweep(const int l, const int keep, float *state, Block *b) {
    if (keep)
        for (int i = 0; i < l; i++)
            for (int j = 0; j < INNER; j++)
                b->added[i][j] = b->mixed[i][j] * b->weight[i][j / SSM_HEAD_DIM];
    for (int n = 0; n < STATE_DIM; n += DEEP)
        for (int j = 0; j < INNER; j += COLUMNS) {
            float *row = state + n * INNER + j;
            Columns s[DEEP];
            IN_REGISTERS
            for (int r = 0; r < DEEP; r++) {
                s[r] = *(Columns *)(row + r * INNER);
                __builtin_prefetch(row + (r + AHEAD) * INNER, 0, 2);
            }
            IN_REGISTERS
            for (int m = 0; m < l; m++) {
                const float *c = b->mixed[m] + INNER + STATE_DIM + n;
                Columns y = n ? *(Columns *)(b->y[m] + j) : (Columns){0};
                IN_REGISTERS
                for (int r = 0; r < DEEP; r++) y += c[r] * s[r];
                *(Columns *)(b->y[m] + j) = y;
            }
            if (!keep) continue;
            const float kept = b->faded[l - 1][j / SSM_HEAD_DIM];
            IN_REGISTERS
            for (int r = 0; r < DEEP; r++) s[r] *= kept;
            IN_REGISTERS
            for (int i = 0; i < l; i++) {
                const float *into = b->mixed[i] + INNER + n;
                Columns added = *(Columns *)(b->added[i] + j);
                IN_REGISTERS
                for (int r = 0; r < DEEP; r++) s[r] += into[r] * added;
            }
            IN_REGISTERS
            for (int r = 0; r < DEEP; r++) *(Columns *)(row + r * INNER) = s[r];
        }
    for (int m = 0; m < l; m++)
        for (int j = 0; j < INNER; j += COLUMNS) {
            const int h = j / SSM_HEAD_DIM;
            Columns sum = *(Columns *)(b->y[m] + j) * b->faded[m][h];
            for (int k = 0; k <= m; k++) sum += b->own[m][k][h] * *(Columns *)(b->mixed[k] + j);
            *(Columns *)(b->y[m] + j) = sum;
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

// A block of `l` tokens.
INLINE void scan_block(const int l, const int keep, const P *projected, P *tail, float *state,
                       const ScanWeights *w, P *out) {
    Block b;
    convolve(l, projected, tail, w, keep, &b);
    weigh(l, projected, w, &b);
    sweep(l, keep, state, &b);
    finish(l, projected, &b, out);
}

// Common lengths as constants, so that a block's tokens are unrolled.
INLINE void scan_any_block(int l, const int keep, const P *projected, P *tail, float *state,
                           const ScanWeights *w, P *out) {
    if (l == 1) scan_block(1, keep, projected, tail, state, w, out);
    else if (l == 4) scan_block(4, keep, projected, tail, state, w, out);
    else if (TOKENS >= 16 && l == 16) scan_block(16, keep, projected, tail, state, w, out);
    else scan_block(l, keep, projected, tail, state, w, out);
}

void scan_slot(
    int length, const P *projected, P *tails, float *states, const ScanWeights *w, int keep, P *out
) {
    unsigned before = flush_denormals();
    for (int g = 0; g < TOKENS / length; g++) {
        const P *in = projected + (long)g * length * PROJECTED;
        P *tail = tails + (long)g * (TAPS - 1) * CHANNELS, *to = out + (long)g * length * INNER;
        float *state = states + (long)g * STATE_DIM * INNER;
        if (keep) scan_any_block(length, 1, in, tail, state, w, to);
        else scan_any_block(length, 0, in, tail, state, w, to);
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
