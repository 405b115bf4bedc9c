// The decoder between convolutions that are made elsewhere: images are (slot, pixel, channel).

#include "numbers.h"

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
