// Attention of one frame to itself and to the frames before.

#include "layers.h"

#if !TILED_ATTENTION

INLINE void rotate(const float *x, const float *cos, const float *sin, float *out) {
    for (int j = 0; j < HEAD_DIM / 2; j++) {
        out[j] = x[j] * cos[j] + x[j + HEAD_DIM / 2] * sin[j];
        out[j + HEAD_DIM / 2] = x[j + HEAD_DIM / 2] * cos[j + HEAD_DIM / 2]
                                + x[j] * sin[j + HEAD_DIM / 2];
    }
}

void attend_slot(
    const P *qkv, P *keys, P *values, int64_t frames, const AttentionWeights *w, int keep, P *out
) {
    const long frame = TOKENS * WIDTH;
    const int first = frames < WINDOW ? (WINDOW - (int)frames) * TOKENS : 0;
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
            const P *from = qkv + i * 3 * WIDTH + h * HEAD_DIM;
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
                    P *to = out + (i + m) * WIDTH + h * HEAD_DIM + j;
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
                   qkv + i * 3 * WIDTH + 2 * WIDTH, WIDTH * sizeof(P));
    }
}

#endif

// The same for all slots.
void attend(
    long slots, int threads, const P *qkv, P *past_keys, P *past_values, const int64_t *frames,
    const AttentionWeights *w, int keep, P *out
) {
    const long frame = TOKENS * WIDTH;
    SLOTS_IN_PARALLEL
    for (long s = 0; s < slots; s++)
        attend_slot(
            qkv + s * 3 * frame, past_keys + s * WINDOW * frame, past_values + s * WINDOW * frame,
            frames[s], w, keep, out + s * frame
        );
}
