// Residuals, norms and activations between matrix products that are made elsewhere.

#include "layers.h"

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
            float *xi = x + (s * TOKENS + i) * WIDTH;
            if (y) {
                const P *yi = y + (s * TOKENS + (y_back ? y_back[i] : i)) * WIDTH;
                for (int j = 0; j < WIDTH; j++)
                    xi[j] += g[j] * (up(yi[j]) + (bias ? bias[j] : 0.f));
            }
            norm_token(xi, a, b, out + (s * TOKENS + (out_back ? out_back[i] : i)) * WIDTH);
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

// GELU of y + bias, in place.
void gelu(long slots, int threads, P *y, const float *bias) {
    SLOTS_IN_PARALLEL
    for (long row = 0; row < slots * TOKENS; row++) {
        P *yi = y + row * HIDDEN;
        for (int j = 0; j < HIDDEN; j++) yi[j] = down(gelu_tanh(up(yi[j]) + bias[j]));
    }
}
