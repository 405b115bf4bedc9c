// Adaptive norm, gated residual and GELU, with their gradients. A group is a frame: all of its rows
// (tokens) share scale, shift and gate, which lie `stride` apart from group to group.

#include "sizes.h"

// out = norm(x) · (1 + scale) + shift; `factor` keeps 1 / rms of every row.
void adaptive_norm(
    int threads, long groups, long rows, long width, const float *x, const P *scale, const P *shift,
    long stride, P *out, float *factor
) {
    IN_PARALLEL
    for (long g = 0; g < groups; g++) {
        const P *a = scale + g * stride, *b = shift + g * stride;
        for (long r = g * rows; r < (g + 1) * rows; r++) {
            const float *xr = x + r * width;
            P *o = out + r * width;
            float squares = 0;
            for (long j = 0; j < width; j++) squares += xr[j] * xr[j];
            float f = factor[r] = rms_factor(squares, width);
            for (long j = 0; j < width; j++) o[j] = store(xr[j] * f * (1.f + up(a[j])) + up(b[j]));
        }
    }
}

// `d_passed` is the gradient of x from elsewhere; `d_x` is the sum of both and may be the same.
void adaptive_norm_gradient(
    int threads, long groups, long rows, long width, const float *x, const P *scale, long stride,
    const float *factor, const P *d_out, const float *d_passed, float *d_x, P *d_scale, P *d_shift
) {
    IN_PARALLEL
    for (long g = 0; g < groups; g++) {
        const P *a = scale + g * stride;
        float of_scale[width], of_shift[width];
        for (long j = 0; j < width; j++) of_scale[j] = of_shift[j] = 0;
        for (long r = g * rows; r < (g + 1) * rows; r++) {
            const float *xr = x + r * width, *passed = d_passed + r * width;
            const P *o = d_out + r * width;
            float f = factor[r], dot = 0;
            for (long j = 0; j < width; j++) {
                float d = up(o[j]), normed = xr[j] * f;
                of_scale[j] += d * normed;
                of_shift[j] += d;
                dot += d * (1.f + up(a[j])) * normed;
            }
            dot /= width;
            for (long j = 0; j < width; j++)
                d_x[r * width + j] = passed[j]
                    + f * (up(o[j]) * (1.f + up(a[j])) - xr[j] * f * dot);
        }
        for (long j = 0; j < width; j++) {
            d_scale[g * width + j] = store(of_scale[j]);
            d_shift[g * width + j] = store(of_shift[j]);
        }
    }
}

// out = x + gate · y.
void gated_add(
    int threads, long groups, long rows, long width, const float *x, const P *gate, long stride,
    const P *y, float *out
) {
    IN_PARALLEL
    for (long g = 0; g < groups; g++) {
        const P *a = gate + g * stride;
        for (long r = g * rows; r < (g + 1) * rows; r++)
            for (long j = 0; j < width; j++)
                out[r * width + j] = x[r * width + j] + up(a[j]) * up(y[r * width + j]);
    }
}

void gated_add_gradient(
    int threads, long groups, long rows, long width, const P *gate, long stride, const P *y,
    const float *d_out, P *d_gate, P *d_y
) {
    IN_PARALLEL
    for (long g = 0; g < groups; g++) {
        const P *a = gate + g * stride;
        float of_gate[width];
        for (long j = 0; j < width; j++) of_gate[j] = 0;
        for (long r = g * rows; r < (g + 1) * rows; r++)
            for (long j = 0; j < width; j++) {
                float d = d_out[r * width + j];
                of_gate[j] += d * up(y[r * width + j]);
                d_y[r * width + j] = store(d * up(a[j]));
            }
        for (long j = 0; j < width; j++) d_gate[g * width + j] = store(of_gate[j]);
    }
}

// GELU by tanh: v/2 · (1 + tanh u) is v · sigmoid(2u).
INLINE float gelu(float v, float *slope) {
    float square = 0.044715f * v * v, s = sigmoid(1.59576912f * v * (1.f + square));
    if (slope) *slope = s + v * s * (1.f - s) * 1.59576912f * (1.f + 3.f * square);
    return v * s;
}

// GELU of x + bias.
void biased_gelu(int threads, long rows, long width, const P *x, const float *bias, P *out) {
    IN_PARALLEL
    for (long r = 0; r < rows; r++)
        for (long j = 0; j < width; j++)
            out[r * width + j] = store(gelu(up(x[r * width + j]) + bias[j], NULL));
}

// `d_bias` has a row for every `group` rows, to be summed.
void biased_gelu_gradient(
    int threads, long rows, long width, long group, const P *x, const float *bias, const P *d_out,
    P *d_x, float *d_bias
) {
    IN_PARALLEL
    for (long g = 0; g < (rows + group - 1) / group; g++) {
        float *of_bias = d_bias + g * width;
        for (long j = 0; j < width; j++) of_bias[j] = 0;
        long end = (g + 1) * group < rows ? (g + 1) * group : rows;
        for (long r = g * group; r < end; r++)
            for (long j = 0; j < width; j++) {
                float slope;
                gelu(up(x[r * width + j]) + bias[j], &slope);
                float d = up(d_out[r * width + j]) * slope;
                of_bias[j] += d;
                d_x[r * width + j] = store(d);
            }
    }
}
