// Latents to frames in one call, with convolutions as matrix products on tiles.
//
// Images of a few slots lie one after another, (row, column, channel), each row followed by one
// pixel of zeros and each image by one row of them, which pad the image before and the one after.
// A 3 × 3 convolution is then a sum of nine products whose left factors are the same pixels,
// shifted: nothing is copied. What it yields where zeros stand is dropped.

#if TILES

#define _DEFAULT_SOURCE  // clocks
#include "parts.h"
#include "tiles.h"
#include <stdlib.h>

#define SLOTS 8

typedef struct {
    Weights first, second;
    const float *weight, *bias;  // of the norm between them
    long groups;
} Block;
SIZE_OF(Block)

typedef struct {
    long height, width, channels, blocks;
    const Block *block;
    Weights leave;  // to the next level, or to frames
    long times;     // pixels become times × times; channels of pixels stand in their order
} Level;
SIZE_OF(Level)

typedef struct {
    long levels;
    const Level *level;
    Weights enter;
    const float *scale, *shift;  // of latents
} Decoder;
SIZE_OF(Decoder)

// Where finished pixels go.
typedef struct {
    const Level *level;
    P *to;
    const float *bias;
    long times, pitch;  // of the image they go to: pixels from row to row
} Pixels;

INLINE long pixels_of(const Level *level) { return (level->height + 1) * (level->width + 1); }

// Runs `action` for every result row of the block that is a pixel, with its slot, `y` and `x`.
#define EACH_PIXEL(level, row, rows, action)                                                      \
    do {                                                                                          \
        long pitch_ = (level)->width + 1, slot = (row) / pixels_of(level);                        \
        long y = (row) % pixels_of(level) / pitch_, x = (row) % pitch_;                           \
        for (int i = 0; i < (rows); i++) {                                                        \
            if (x < (level)->width && y < (level)->height) action;                                \
            if (++x == pitch_) {                                                                  \
                x = 0;                                                                            \
                if (++y > (level)->height) y = 0, slot++;                                         \
            }                                                                                     \
        }                                                                                         \
        (void)slot;                                                                               \
    } while (0)

INLINE void store_biased(P *to, const float *results, const float *bias) {
    store_halves(to, _mm512_load_ps(results) + _mm512_loadu_ps(bias),
                 _mm512_load_ps(results + 16) + _mm512_loadu_ps(bias + 16));
}

INLINE void finish_pixels(const float (*results)[32], long row, int rows, int column,
                          const void *context) {
    const Pixels *t = context;
    const long channels = t->level->channels;
    EACH_PIXEL(t->level, row, rows,
               store_biased(t->to + (row + i) * channels + column, results[i], t->bias + column));
}

INLINE void finish_added(const float (*results)[32], long row, int rows, int column,
                         const void *context) {
    const Pixels *t = context;
    const long channels = t->level->channels;
    EACH_PIXEL(t->level, row, rows, {
        P *to = t->to + (row + i) * channels + column;
        float sum[32] __attribute__((aligned(64)));
        for (int j = 0; j < 32; j++) sum[j] = up(to[j]) + results[i][j] + t->bias[column + j];
        store_halves(to, _mm512_load_ps(sum), _mm512_load_ps(sum + 16));
    });
}

// A pixel's channels are those of times × times pixels of the next level, row by row.
INLINE void finish_spread(const float (*results)[32], long row, int rows, int column,
                          const void *context) {
    const Pixels *t = context;
    const Level *next = t->level + 1;
    const long run = t->times * next->channels, below = column / run;
    EACH_PIXEL(t->level, row, rows, {
        long at = slot * pixels_of(next) + (y * t->times + below) * t->pitch + x * t->times;
        store_biased(t->to + at * next->channels + column % run, results[i], t->bias + column);
    });
}

INLINE void finish_rows(const float (*results)[32], long row, int rows, int column,
                        const void *context) {
    const Target *t = context;
    for (int i = 0; i < rows; i++)
        store_biased(t->to + (row + i) * t->pitch + column, results[i], t->bias + column);
}

// image = silu(group norm(image)) of one slot, over pixels only.
static void norm_image(const Level *level, const Block *b, P *image) {
    const long channels = level->channels, size = channels / b->groups;
    const float count = (float)(size * level->height * level->width);
    float sum[channels], squares[channels];
    memset(sum, 0, sizeof sum);
    memset(squares, 0, sizeof squares);
    for (long y = 0; y < level->height; y++)
        for (long x = 0; x < level->width; x++) {
            const P *from = image + (y * (level->width + 1) + x) * channels;
            for (long j = 0; j < channels; j++) sum[j] += up(from[j]);
        }
    for (long g = 0; g < channels; g += size) {
        float total = 0;
        for (long j = g; j < g + size; j++) total += sum[j];
        for (long j = g; j < g + size; j++) sum[j] = total / count;
    }
    for (long y = 0; y < level->height; y++)
        for (long x = 0; x < level->width; x++) {
            const P *from = image + (y * (level->width + 1) + x) * channels;
            for (long j = 0; j < channels; j++) {
                float centred = up(from[j]) - sum[j];
                squares[j] += centred * centred;
            }
        }
    for (long g = 0; g < channels; g += size) {
        float total = 0;
        for (long j = g; j < g + size; j++) total += squares[j];
        float factor = 1.f / sqrtf(total / count + 1e-5f);
        for (long j = g; j < g + size; j++) {
            float scale = factor * b->weight[j];
            squares[j] = scale;
            sum[j] = b->bias[j] - sum[j] * scale;
        }
    }
    for (long y = 0; y < level->height; y++)
        for (long x = 0; x < level->width; x++) {
            P *to = image + (y * (level->width + 1) + x) * channels;
            for (long j = 0; j < channels; j++) to[j] = down(silu(up(to[j]) * squares[j] + sum[j]));
        }
}

// Images of a level and the zeros before and after them; `image` is the first one's first pixel.
typedef struct {
    P *memory, *image;
} Images;

static void clear(Images *images, const Level *level, long slots) {
    const long before = (level->width + 2) * level->channels;
    const long pixels = slots * pixels_of(level) * level->channels;
    images->image = images->memory + before;
    memset(images->memory, 0, (2 * before + pixels) * sizeof(P));
}

// Numbers that images of any level take, with what tiles read beyond.
static long most_numbers(const Decoder *decoder) {
    long most = 0;
    for (const Level *l = decoder->level; l < decoder->level + decoder->levels; l++) {
        long wide = l->channels > l->leave.columns ? l->channels : l->leave.columns;
        long size = (SLOTS * pixels_of(l) + 2 * (l->width + 2) + 32) * wide;
        most = size > most ? size : most;
    }
    return (most + 31) / 32 * 32;
}

// From −1 … 1 to 0 … 1, from pixels of channels of times × times pixels each.
static void write_frame(const Level *level, const P *image, long pitch, long channels,
                        float *frame) {
    const long times = level->times, run = times * channels;
    for (long y = 0; y < level->height; y++)
        for (long x = 0; x < level->width; x++) {
            const P *from = image + (y * (level->width + 1) + x) * pitch;
            for (long k = 0; k < times; k++) {
                float *to = frame + ((y * times + k) * level->width + x) * run;
                for (long j = 0; j < run; j++) to[j] = up(from[k * run + j]) * 0.5f + 0.5f;
            }
        }
}

// A few slots: latents (slots, tokens, latents) to frames (slots, height, width, channels).
static void decode_slots(const Decoder *decoder, long slots, int channels, const float *latents,
                         float *frames, Images buffers[3], double *spent) {
    const Level *level = decoder->level;
    Images *image = buffers, *inner = buffers + 1, *active = buffers + 2;
    double since = clock_of(spent);
    clear(active, level, slots);
    clear(image, level, slots);
    for (long s = 0; s < slots; s++)
        for (long i = 0; i < TOKENS; i++) {
            long y = i / level->width, x = i % level->width;
            long at = s * pixels_of(level) + y * (level->width + 1) + x;
            P *to = active->memory + at * LATENTS;
            const float *from = latents + (s * TOKENS + i) * LATENTS;
            for (int j = 0; j < LATENTS; j++)
                to[j] = down(from[j] * decoder->scale[j] + decoder->shift[j]);
        }
    Pixels entered = {level, image->image, decoder->enter.bias, 1, 0};
    multiply(active->memory, LATENTS, slots * pixels_of(level), &decoder->enter, NULL, 1,
             finish_pixels, &entered);
    for (long l = 0; l < decoder->levels; l++, level++) {
        const long pixels = slots * pixels_of(level), pitch = level->channels;
        long starts[9];
        for (int i = 0; i < 9; i++)
            starts[i] = ((i / 3 - 1) * (level->width + 1) + i % 3 - 1) * pitch;
        for (const Block *b = level->block; b < level->block + level->blocks; b++) {
            clear(active, level, slots);
            clear(inner, level, slots);
            for (long j = 0; j < pixels * pitch; j++)
                active->image[j] = down(silu(up(image->image[j])));
            spend(spent, IMAGES, &since);
            Pixels first = {level, inner->image, b->first.bias, 1, 0};
            multiply(active->image, pitch, pixels, &b->first, starts, 9, finish_pixels, &first);
            spend(spent, CONVOLUTIONS, &since);
            for (long s = 0; s < slots; s++)
                norm_image(level, b, inner->image + s * pixels_of(level) * pitch);
            spend(spent, IMAGES, &since);
            Pixels second = {level, image->image, b->second.bias, 1, 0};
            multiply(inner->image, pitch, pixels, &b->second, starts, 9, finish_added, &second);
            spend(spent, CONVOLUTIONS, &since);
        }
        if (l + 1 < decoder->levels) {
            clear(inner, level + 1, slots);
            const long next = level[1].width + 1;
            Pixels spread = {level, inner->image, level->leave.bias, level->times, next};
            multiply(image->image, pitch, pixels, &level->leave, NULL, 1, finish_spread, &spread);
            Images *done = image;
            image = inner;
            inner = done;
        } else {
            const long columns = level->leave.columns;
            Target rows = {inner->memory, columns, level->leave.bias};
            multiply(image->image, pitch, pixels, &level->leave, starts, 9, finish_rows, &rows);
            spend(spent, CONVOLUTIONS, &since);
            const long size = level->height * level->width * level->times * level->times * channels;
            for (long s = 0; s < slots; s++)
                write_frame(level, inner->memory + s * pixels_of(level) * columns, columns,
                            channels, frames + s * size);
            spend(spent, IMAGES, &since);
        }
        spend(spent, CONVOLUTIONS, &since);
    }
}

void decode_frames(long slots, int threads, const Decoder *decoder, int channels,
                   const float *latents, float *frames, double *spent) {
    static _Thread_local P *memory;
    static _Thread_local long held;
    const Level *last = decoder->level + decoder->levels - 1;
    const long numbers = most_numbers(decoder);
    const long size = last->height * last->width * last->times * last->times * channels;
    const long turns = (slots + threads * SLOTS - 1) / (threads * SLOTS) * threads;
    const long most = (slots + turns - 1) / turns;
    SLOTS_IN_PARALLEL
    for (long start = 0; start < slots; start += most) {
        if (held < numbers) {  // once in a thread
            free(memory);
            memory = aligned_alloc(64, 3 * numbers * sizeof(P));
            held = memory ? numbers : 0;
            if (!memory) abort();
            memset(memory, 0, 3 * numbers * sizeof(P));
        }
        Images buffers[3] = {{memory, 0}, {memory + numbers, 0}, {memory + 2 * numbers, 0}};
        const TileShapes before = take_tiles();
        long count = slots - start < most ? slots - start : most;
        decode_slots(decoder, count, channels, latents + start * TOKENS * LATENTS,
                     frames + start * size, buffers, spent);
        give_tiles_back(&before);
    }
}

#endif
