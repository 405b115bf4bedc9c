// What happens to a dreamt frame between two matrix products, one pass over memory each.
//
// Compiled for one architecture and one machine by frame_kernels.py, which defines the sizes below as
// constants, so that every loop is unrolled and vectorised for them. Products (P) are bfloat16 or
// float, all arithmetic is float. Slots are independent and shared out among threads.
// stepping.py does the same in torch operations; what is computed is written there.

#include <math.h>
#include <stdint.h>
#include <string.h>
#ifdef __SSE__
#include <xmmintrin.h>
#endif

#define INNER (SSM_HEADS * SSM_HEAD_DIM)
#define CHANNELS (INNER + 2 * STATE_DIM)
#define PROJECTED (INNER + CHANNELS + SSM_HEADS)
#define HEADS (WIDTH / HEAD_DIM)
#define KEYS ((WINDOW + 1) * TOKENS)
// As many floats as fit a register and divide tokens and head dims.
typedef float Lanes __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
#define INLINE static inline __attribute__((always_inline))
#define SLOTS_IN_PARALLEL _Pragma("omp parallel for num_threads(threads) if (threads > 1)")

#if HALF
typedef uint16_t P;
INLINE float up(P value) {
    uint32_t bits = (uint32_t)value << 16;
    float wide;
    memcpy(&wide, &bits, 4);
    return wide;
}
INLINE P down(float wide) {  // to the nearest, ties to even
    uint32_t bits;
    memcpy(&bits, &wide, 4);
    return (P)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}
#else
typedef float P;
INLINE float up(P value) { return value; }
INLINE P down(float wide) { return wide; }
#endif

// exp within 3e-7 relative for |x| < 10; 2^t split into an exponent and a polynomial.
INLINE float fast_exp(float x) {
    float t = x * 1.44269504f;
    t = t < -126.f ? -126.f : t;
    t = t > 127.f ? 127.f : t;
    float whole = rintf(t), f = t - whole;
    float p = 1.f + f * (0.69314718f + f * (0.24022651f + f * (0.05550411f + f * (0.00961813f
        + f * (0.00133336f + f * 0.00015469f)))));
    int32_t bits = ((int32_t)whole + 127) << 23;
    float power;
    memcpy(&power, &bits, 4);
    return p * power;
}

// log(1 + exp(x)); log1p(u) is 2 atanh(u / (2 + u)), as a series good to 2e-8.
INLINE float softplus(float x) {
    float u = fast_exp(x < 0 ? x : -x), z = u / (2.f + u), q = z * z;
    float series = 1.f + q * (0.33333333f + q * (0.2f + q * (0.14285714f + q * (0.11111111f
        + q * (0.09090909f + q * (0.07692308f + q * 0.06666667f))))));
    return (x < 0 ? 0.f : x) + 2.f * z * series;
}

INLINE float silu(float x) { return x / (1.f + fast_exp(-x)); }

INLINE float rms_factor(float squares, int size) { return 1.f / sqrtf(squares / size + 1.1920929e-7f); }

// Residual and adaptive norm: x += gate · (y + bias), then out = norm(x) · scale + shift.
// `y` may be NULL. Row back[i] of y or out belongs to token i where y_back or out_back are given.
// gate, scale and shift of slot s are at table + rows[s] · stride.
void residual_norm(
    long slots, int threads, float *x, const P *y, const float *bias, const int32_t *y_back,
    const float *gate, const float *scale, const float *shift, const int64_t *rows, long stride,
    const int32_t *out_back, P *out
) {
    SLOTS_IN_PARALLEL
    for (long s = 0; s < slots; s++) {
        const float *g = gate + rows[s] * stride, *a = scale + rows[s] * stride;
        const float *b = shift + rows[s] * stride;
        for (int i = 0; i < TOKENS; i++) {
            float *xi = x + (s * TOKENS + i) * WIDTH, squares = 0;
            if (y) {
                const P *yi = y + (s * TOKENS + (y_back ? y_back[i] : i)) * WIDTH;
                for (int j = 0; j < WIDTH; j++) xi[j] += g[j] * (up(yi[j]) + (bias ? bias[j] : 0.f));
            }
            for (int j = 0; j < WIDTH; j++) squares += xi[j] * xi[j];
            float factor = rms_factor(squares, WIDTH);
            P *oi = out + (s * TOKENS + (out_back ? out_back[i] : i)) * WIDTH;
            for (int j = 0; j < WIDTH; j++) oi[j] = down(xi[j] * factor * a[j] + b[j]);
        }
    }
}

// The last residual, and the plain norm of what comes out of the layers.
void residual_final(
    long slots, int threads, float *x, const P *y, const float *bias, const float *gate,
    const int64_t *rows, long stride, float *out
) {
    SLOTS_IN_PARALLEL
    for (long s = 0; s < slots; s++) {
        const float *g = gate + rows[s] * stride;
        for (int i = 0; i < TOKENS; i++) {
            long at = (s * TOKENS + i) * WIDTH;
            float squares = 0;
            for (int j = 0; j < WIDTH; j++) x[at + j] += g[j] * (up(y[at + j]) + bias[j]);
            for (int j = 0; j < WIDTH; j++) squares += x[at + j] * x[at + j];
            float factor = rms_factor(squares, WIDTH);
            for (int j = 0; j < WIDTH; j++) out[at + j] = x[at + j] * factor;
        }
    }
}

// GELU by tanh of y + bias, in place; x · sigmoid(2u) is x/2 · (1 + tanh u).
void gelu(long slots, int threads, P *y, const float *bias) {
    SLOTS_IN_PARALLEL
    for (long row = 0; row < slots * TOKENS; row++) {
        P *yi = y + row * HIDDEN;
        for (int j = 0; j < HIDDEN; j++) {
            float v = up(yi[j]) + bias[j];
            yi[j] = down(v / (1.f + fast_exp(-1.59576912f * v * (1.f + 0.044715f * v * v))));
        }
    }
}

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

typedef struct {
    const float *taps, *conv_bias, *step_bias, *decay, *skip;
} ScanWeights;

// One block of `l` tokens: causal convolution, state read and, with `keep`, renewed, gate, norm.
INLINE void scan_block(
    const int l, const P *projected, P *tail, float *state, const ScanWeights *w, int keep, P *out
) {
    float mixed[l][CHANNELS], y[l][INNER], step[l][SSM_HEADS], reach[l][SSM_HEADS];
    // Convolution over the tail of the frames before and the frame's own tokens.
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
            mixed[i][j] = silu(sum);
        }
        const P *raw = projected + i * PROJECTED + INNER + CHANNELS;
        for (int h = 0; h < SSM_HEADS; h++) {
            step[i][h] = softplus(up(raw[h]) + w->step_bias[h]);
            reach[i][h] = step[i][h] * w->decay[h] + (i ? reach[i - 1][h] : 0.f);
        }
    }
    if (keep)
        for (int k = 0; k < TAPS - 1; k++) {
            int row = l + k - (TAPS - 1);
            memmove(tail + k * CHANNELS,
                    row < 0 ? tail + (row + TAPS - 1) * CHANNELS
                            : projected + row * PROJECTED + INNER,
                    CHANNELS * sizeof(P));
        }
    // What enters the state: x Δ exp(decay from the token to the frame's end).
    float kept[INNER], added[l][INNER];
    if (keep)
        for (int h = 0; h < SSM_HEADS; h++) {
            float last = reach[l - 1][h], whole = fast_exp(last);
            for (int p = 0; p < SSM_HEAD_DIM; p++) kept[h * SSM_HEAD_DIM + p] = whole;
            for (int i = 0; i < l; i++) {
                float weight = step[i][h] * fast_exp(last - reach[i][h]);
                for (int j = h * SSM_HEAD_DIM; j < (h + 1) * SSM_HEAD_DIM; j++)
                    added[i][j] = mixed[i][j] * weight;
            }
        }
    // Read the state, four rows at a time, and renew them while they are near.
    memset(y, 0, sizeof y);
    for (int n = 0; n + 4 <= STATE_DIM; n += 4) {
        float *s0 = state + n * INNER, *s1 = s0 + INNER, *s2 = s1 + INNER, *s3 = s2 + INNER;
        int i = 0;
        for (; i + 4 <= l; i += 4) {  // four tokens share what is loaded of the state
            float c[4][4];
            for (int m = 0; m < 4; m++) memcpy(c[m], mixed[i + m] + INNER + STATE_DIM + n, 16);
            for (int j = 0; j < INNER; j++)
                for (int m = 0; m < 4; m++)
                    y[i + m][j] += c[m][0] * s0[j] + c[m][1] * s1[j] + c[m][2] * s2[j]
                                   + c[m][3] * s3[j];
        }
        for (; i < l; i++) {
            const float *c = mixed[i] + INNER + STATE_DIM + n;
            for (int j = 0; j < INNER; j++)
                y[i][j] += c[0] * s0[j] + c[1] * s1[j] + c[2] * s2[j] + c[3] * s3[j];
        }
        if (!keep) continue;
        for (int q = 0; q < 4; q++) {
            float *row = s0 + q * INNER;
            for (int j = 0; j < INNER; j++) {
                float sum = kept[j] * row[j];
                for (int i = 0; i < l; i++) sum += mixed[i][INNER + n + q] * added[i][j];
                row[j] = sum;
            }
        }
    }
    // The frame's own tokens, up to and including each, and the skip.
    for (int i = 0; i < l; i++) {
        float *yi = y[i], squares = 0;
        const float *c = mixed[i] + INNER + STATE_DIM;
        for (int h = 0; h < SSM_HEADS; h++) {
            float faded = fast_exp(reach[i][h]);
            for (int j = h * SSM_HEAD_DIM; j < (h + 1) * SSM_HEAD_DIM; j++) yi[j] *= faded;
        }
        for (int k = 0; k <= i; k++) {
            const float *b = mixed[k] + INNER;
            float score = 0, weight[SSM_HEADS];
            for (int n = 0; n < STATE_DIM; n++) score += c[n] * b[n];
            for (int h = 0; h < SSM_HEADS; h++) {
                weight[h] = score * step[k][h] * fast_exp(reach[i][h] - reach[k][h]);
                if (i == k) weight[h] += w->skip[h];
            }
            for (int h = 0; h < SSM_HEADS; h++)
                for (int j = h * SSM_HEAD_DIM; j < (h + 1) * SSM_HEAD_DIM; j++)
                    yi[j] += weight[h] * mixed[k][j];
        }
        const P *gate = projected + i * PROJECTED;
        for (int j = 0; j < INNER; j++) {
            yi[j] *= silu(up(gate[j]));
            squares += yi[j] * yi[j];
        }
        float factor = rms_factor(squares, INNER);
        for (int j = 0; j < INNER; j++) out[i * INNER + j] = down(yi[j] * factor);
    }
}

// All blocks of `length` tokens of all slots; tokens stand block by block.
void scan(
    long slots, int threads, int length, const P *projected, P *tails, float *states,
    const ScanWeights *w, int keep, P *out
) {
    int blocks = TOKENS / length;
    SLOTS_IN_PARALLEL
    for (long s = 0; s < slots; s++) {
        unsigned before = flush_denormals();
        for (long g = s * blocks; g < (s + 1) * blocks; g++) {
            const P *in = projected + g * length * PROJECTED;
            P *tail = tails + g * (TAPS - 1) * CHANNELS, *to = out + g * length * INNER;
            float *state = states + g * STATE_DIM * INNER;
            if (length == 1) scan_block(1, in, tail, state, w, keep, to);
            else if (length == 4) scan_block(4, in, tail, state, w, keep, to);
            else if (length == TOKENS) scan_block(TOKENS, in, tail, state, w, keep, to);
            else scan_block(length, in, tail, state, w, keep, to);
        }
        restore_denormals(before);
    }
}

typedef struct {
    const float *norm;         // of queries and of keys, (2, head dim)
    const float *cos, *sin;    // of past keys, (window, tokens, head dim)
    const float *own_cos, *own_sin;  // of queries, scaled, and own keys, (tokens, 2, head dim)
} AttentionWeights;

INLINE void rotate(const float *x, const float *cos, const float *sin, float *out) {
    for (int j = 0; j < HEAD_DIM / 2; j++) {
        out[j] = x[j] * cos[j] + x[j + HEAD_DIM / 2] * sin[j];
        out[j + HEAD_DIM / 2] = x[j + HEAD_DIM / 2] * cos[j + HEAD_DIM / 2]
                                + x[j] * sin[j + HEAD_DIM / 2];
    }
}

// Attention to the frame itself and to as many of `WINDOW` frames before as there are.
void attend(
    long slots, int threads, const P *qkv, P *past_keys, P *past_values, const int64_t *frames,
    const AttentionWeights *w, int keep, P *out
) {
    const long frame = TOKENS * WIDTH;
    SLOTS_IN_PARALLEL
    for (long s = 0; s < slots; s++) {
        P *keys = past_keys + s * WINDOW * frame, *values = past_values + s * WINDOW * frame;
        int first = frames[s] < WINDOW ? (WINDOW - (int)frames[s]) * TOKENS : 0;
        P fresh[TOKENS][HEADS][HEAD_DIM];
        for (int h = 0; h < HEADS; h++) {
            float query[HEAD_DIM][TOKENS], key[KEYS][HEAD_DIM], value[KEYS][HEAD_DIM];
            float score[KEYS][TOKENS], most[TOKENS], total[TOKENS];
            for (int k = first; k < WINDOW * TOKENS; k++) {
                const P *from = keys + k * WIDTH + h * HEAD_DIM;
                const P *also = values + k * WIDTH + h * HEAD_DIM;
                float x[HEAD_DIM];
                for (int j = 0; j < HEAD_DIM; j++) x[j] = up(from[j]);
                for (int j = 0; j < HEAD_DIM; j++) value[k][j] = up(also[j]);
                rotate(x, w->cos + k * HEAD_DIM, w->sin + k * HEAD_DIM, key[k]);
            }
            for (int i = 0; i < TOKENS; i++) {
                const P *from = qkv + (s * TOKENS + i) * 3 * WIDTH + h * HEAD_DIM;
                for (int part = 0; part < 2; part++) {
                    float x[HEAD_DIM], turned[HEAD_DIM], squares = 0;
                    for (int j = 0; j < HEAD_DIM; j++) {
                        x[j] = up(from[part * WIDTH + j]);
                        squares += x[j] * x[j];
                    }
                    float factor = rms_factor(squares, HEAD_DIM);
                    for (int j = 0; j < HEAD_DIM; j++)
                        x[j] *= factor * w->norm[part * HEAD_DIM + j];
                    long at = (2 * i + part) * HEAD_DIM;
                    rotate(x, w->own_cos + at, w->own_sin + at, turned);
                    if (part == 0) {
                        for (int j = 0; j < HEAD_DIM; j++) query[j][i] = turned[j];
                    } else {
                        memcpy(key[WINDOW * TOKENS + i], turned, sizeof turned);
                        for (int j = 0; j < HEAD_DIM; j++) fresh[i][h][j] = down(x[j]);
                    }
                }
                for (int j = 0; j < HEAD_DIM; j++)
                    value[WINDOW * TOKENS + i][j] = up(from[2 * WIDTH + j]);
            }
            for (int i = 0; i < TOKENS; i++) most[i] = -INFINITY, total[i] = 0;
            // Four keys, and below four queries, at a time: sums that do not wait for each other.
            for (int k = first; k < KEYS; k += 4)
                for (int i = 0; i < TOKENS; i += LANES) {
                    Lanes s0 = {0}, s1 = {0}, s2 = {0}, s3 = {0};
                    for (int j = 0; j < HEAD_DIM; j++) {
                        Lanes q = *(Lanes *)&query[j][i];
                        s0 += key[k][j] * q;
                        s1 += key[k + 1][j] * q;
                        s2 += key[k + 2][j] * q;
                        s3 += key[k + 3][j] * q;
                    }
                    *(Lanes *)&score[k][i] = s0;
                    *(Lanes *)&score[k + 1][i] = s1;
                    *(Lanes *)&score[k + 2][i] = s2;
                    *(Lanes *)&score[k + 3][i] = s3;
                }
            for (int k = first; k < KEYS; k++)
                for (int i = 0; i < TOKENS; i++)
                    most[i] = most[i] > score[k][i] ? most[i] : score[k][i];
            for (int k = first; k < KEYS; k++)
                for (int i = 0; i < TOKENS; i++) {
                    score[k][i] = fast_exp(score[k][i] - most[i]);
                    total[i] += score[k][i];
                }
            for (int i = 0; i < TOKENS; i += 4)
                for (int j = 0; j < HEAD_DIM; j += LANES) {
                    Lanes s0 = {0}, s1 = {0}, s2 = {0}, s3 = {0};
                    for (int k = first; k < KEYS; k++) {
                        Lanes v = *(Lanes *)&value[k][j];
                        s0 += score[k][i] * v;
                        s1 += score[k][i + 1] * v;
                        s2 += score[k][i + 2] * v;
                        s3 += score[k][i + 3] * v;
                    }
                    Lanes sums[4] = {s0, s1, s2, s3};
                    for (int m = 0; m < 4; m++) {
                        P *to = out + (s * TOKENS + i + m) * WIDTH + h * HEAD_DIM + j;
                        for (int n = 0; n < LANES; n++) to[n] = down(sums[m][n] / total[i + m]);
                    }
                }
        }
        if (keep) {
            memmove(keys, keys + frame, (WINDOW - 1) * frame * sizeof(P));
            memmove(values, values + frame, (WINDOW - 1) * frame * sizeof(P));
            memcpy(keys + (WINDOW - 1) * frame, fresh, sizeof fresh);
            for (int i = 0; i < TOKENS; i++)
                memcpy(values + (WINDOW - 1) * frame + i * WIDTH,
                       qkv + (s * TOKENS + i) * 3 * WIDTH + 2 * WIDTH, WIDTH * sizeof(P));
        }
    }
}

// The decoder: images are (slot, pixel, channel), between convolutions.

// out = silu(x).
void silu_image(long slots, int threads, long size, const P *x, P *out) {
    SLOTS_IN_PARALLEL
    for (long s = 0; s < slots; s++)
        for (long j = s * size; j < (s + 1) * size; j++) out[j] = down(silu(up(x[j])));
}

// x = silu(group norm(x)).
void group_norm_silu(
    long slots, int threads, long pixels, int channels, int groups, P *x, const float *weight,
    const float *bias
) {
    const int size = channels / groups;
    SLOTS_IN_PARALLEL
    for (long s = 0; s < slots; s++) {
        P *image = x + s * pixels * channels;
        float scale[channels], shift[channels];
        memset(scale, 0, sizeof scale);
        memset(shift, 0, sizeof shift);
        for (long i = 0; i < pixels; i++)
            for (int j = 0; j < channels; j++) scale[j] += up(image[i * channels + j]);
        for (int g = 0; g < groups; g++) {
            float sum = 0;
            for (int j = g * size; j < (g + 1) * size; j++) sum += scale[j];
            for (int j = g * size; j < (g + 1) * size; j++) scale[j] = sum / (size * pixels);
        }
        for (long i = 0; i < pixels; i++)
            for (int j = 0; j < channels; j++) {
                float centred = up(image[i * channels + j]) - scale[j];
                shift[j] += centred * centred;
            }
        for (int g = 0; g < groups; g++) {
            float sum = 0;
            for (int j = g * size; j < (g + 1) * size; j++) sum += shift[j];
            float factor = 1.f / sqrtf(sum / (size * pixels) + 1e-5f);
            for (int j = g * size; j < (g + 1) * size; j++) {
                float mean = scale[j];
                scale[j] = factor * weight[j];
                shift[j] = bias[j] - mean * scale[j];
            }
        }
        for (long i = 0; i < pixels; i++)
            for (int j = 0; j < channels; j++) {
                P *to = image + i * channels + j;
                *to = down(silu(up(*to) * scale[j] + shift[j]));
            }
    }
}

// Pixels of times² · channels, ordered (row, column, channel) within, to times × times pixels.
void spread_pixels(
    long slots, int threads, int height, int width, int times, int channels, const P *x, P *out
) {
    const long run = times * channels;
    SLOTS_IN_PARALLEL
    for (long s = 0; s < slots; s++)
        for (long y = s * height; y < (s + 1) * height; y++)
            for (int i = 0; i < times; i++)
                for (int c = 0; c < width; c++)
                    memcpy(out + ((y * times + i) * width + c) * run,
                           x + ((y * width + c) * times + i) * run, run * sizeof(P));
}

// The same into frames: from −1 … 1 to 0 … 1.
void spread_frames(
    long slots, int threads, int height, int width, int times, int channels, const P *x, float *out
) {
    const long run = times * channels;
    SLOTS_IN_PARALLEL
    for (long s = 0; s < slots; s++)
        for (long y = s * height; y < (s + 1) * height; y++)
            for (int i = 0; i < times; i++)
                for (int c = 0; c < width; c++) {
                    const P *from = x + ((y * width + c) * times + i) * run;
                    float *to = out + ((y * times + i) * width + c) * run;
                    for (long j = 0; j < run; j++) to[j] = up(from[j]) * 0.5f + 0.5f;
                }
}
