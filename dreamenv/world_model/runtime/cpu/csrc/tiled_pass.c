// A whole pass over one frame in one call, with matrix products on tiles.
//
// Every thread takes slots through all layers, a few at a time, so that what one part leaves the
// next finds in the cache, and no thread waits for another.

#if TILES

#define _DEFAULT_SOURCE  // syscall, clocks
#include "layers.h"
#include "tiles.h"
#include "parts.h"
#include <sys/syscall.h>
#include <unistd.h>

#define SLOTS 8
#define ROWS ((SLOTS * TOKENS + 31) / 32 * 32)

typedef struct {
    Weights scan_in, scan_out, qkv, attention_out, up, down;
    const int32_t *order;  // the token that stands at each place of the scan; NULL if in order
    long length;           // tokens of a block of the scan
    ScanWeights scan;
    AttentionWeights attention;
} Layer;
SIZE_OF(Layer)
SIZE_OF(Weights)

typedef struct {
    long layers;
    const Layer *layer;
    Weights enter, leave;
    const float *position;  // (tokens, width)
    const float *pool;      // (5, tokens): shares of tokens in the frame's mean and its quarters'
} Network;
SIZE_OF(Network)

typedef struct {
    P *conv;
    float *states;
    P *keys, *values;
} Memory;

typedef struct {
    const Memory *memories;      // of each layer
    const float *previous;       // latents of the frame before, (slots, tokens, latents)
    const float *previous_level; // (slots,)
    const int64_t *frames;       // seen before, (slots,)
    const float *table;          // scales, shifts and gates (rows, layers, 9, width)
    const int64_t *rows;         // of the table, (slots,)
    float *latents;              // the frame as seen, and after denoising, (slots, tokens, latents)
    float *pooled;               // NULL, or with it the frame enters the memory: (slots, 5, width)
    double *spent;               // as in parts.h
} Frame;
SIZE_OF(Frame)

typedef struct {
    float level, pull, change;   // of the view, towards the prediction, from frame to frame
} Denoising;
SIZE_OF(Denoising)

typedef struct {
    float x[SLOTS * TOKENS][WIDTH];
    P normed[ROWS * (WIDTH > 2 * LATENTS ? WIDTH : 2 * LATENTS)];  // joined latents, too
    P projected[ROWS][PROJECTED];
    P scanned[ROWS][INNER];
    P qkv[ROWS][3 * WIDTH];
    P hidden[ROWS][HIDDEN];
} __attribute__((aligned(64))) Workspace;

// Whether this process may use tiles. The system saves so large registers only when asked.
int tiles_are_allowed(void) { return syscall(SYS_arch_prctl, 0x1023, 18) == 0; }

// x = results + bias + position.
INLINE void finish_enter(const float (*results)[32], long row, int rows, int column,
                         const void *context) {
    const struct { float (*x)[WIDTH]; const float *bias, *position; } *t = context;
    for (int i = 0; i < rows; i++) {
        const float *position = t->position + (row + i) % TOKENS * WIDTH + column;
        for (int j = 0; j < 32; j++)
            t->x[row + i][column + j] = results[i][j] + t->bias[column + j] + position[j];
    }
}

INLINE void finish_gelu(const float (*results)[32], long row, int rows, int column,
                        const void *context) {
    const Target *t = context;
    for (int i = 0; i < rows; i++) {
        float y[32] __attribute__((aligned(64)));
        for (int j = 0; j < 32; j++) y[j] = gelu_tanh(results[i][j] + t->bias[column + j]);
        store_halves(t->to + (row + i) * t->pitch + column, _mm512_load_ps(y),
                     _mm512_load_ps(y + 16));
    }
}

// x += gate · (results + bias).
typedef struct {
    float (*x)[WIDTH];
    const float *bias, *gate;  // of slot s at gate + rows[s] · stride
    const int64_t *rows;
    long stride;
    const int32_t *order;
} Residual;

INLINE void finish_residual(const float (*results)[32], long row, int rows, int column,
                            const void *context) {
    const Residual *t = context;
    for (int i = 0; i < rows; i++) {
        long slot = (row + i) / TOKENS, token = (row + i) % TOKENS;
        float *x = t->x[slot * TOKENS + (t->order ? t->order[token] : token)] + column;
        const float *gate = t->gate + t->rows[slot] * t->stride + column;
        if (t->bias)
            for (int j = 0; j < 32; j++) x[j] += gate[j] * (results[i][j] + t->bias[column + j]);
        else
            for (int j = 0; j < 32; j++) x[j] += gate[j] * results[i][j];
    }
}

// Few or many slots through all layers.
static void pass_layers(const Network *network, const Frame *f, long start, long slots,
                        Workspace *work) {
    const long rows = slots * TOKENS, stride = network->layers * 9 * WIDTH;
    const int64_t *which = f->rows + start;
    const int keep = f->pooled != NULL;
    double since = clock_of(f->spent);
    for (long i = 0; i < network->layers; i++) {
        const Layer *w = network->layer + i;
        const Memory *m = f->memories + i;
        const float *table = f->table + i * 9 * WIDTH;
        for (int part = 0; part < 3; part++) {
            const float *scale = table + 3 * part * WIDTH, *shift = scale + WIDTH;
            const int32_t *order = part ? NULL : w->order;
            Residual residual = {work->x, NULL, shift + WIDTH, which, stride, order};
            for (long s = 0; s < slots; s++)
                for (int k = 0; k < TOKENS; k++)
                    norm_token(work->x[s * TOKENS + (order ? order[k] : k)],
                               scale + which[s] * stride, shift + which[s] * stride,
                               work->normed + (s * TOKENS + k) * WIDTH);
            spend(f->spent, NORMS, &since);
            if (part == 0) {
                const long blocks = TOKENS / w->length;
                Target projected = {work->projected[0], PROJECTED, NULL};
                multiply(work->normed, WIDTH, rows, &w->scan_in, NULL, 1, finish_plain, &projected);
                spend(f->spent, PRODUCTS, &since);
                for (long s = 0; s < slots; s++)
                    scan_slot(
                        (int)w->length, work->projected[s * TOKENS],
                        m->conv + (start + s) * blocks * (TAPS - 1) * CHANNELS,
                        m->states + (start + s) * blocks * STATE_DIM * INNER, &w->scan, keep,
                        work->scanned[s * TOKENS]
                    );
                spend(f->spent, SCAN, &since);
                multiply(work->scanned[0], INNER, rows, &w->scan_out, NULL, 1, finish_residual,
                         &residual);
            } else if (part == 1) {
                const long past = WINDOW * TOKENS * WIDTH;
                Target qkv = {work->qkv[0], 3 * WIDTH, NULL};
                multiply(work->normed, WIDTH, rows, &w->qkv, NULL, 1, finish_plain, &qkv);
                spend(f->spent, PRODUCTS, &since);
                for (long s = 0; s < slots; s++)
                    attend_slot(
                        work->qkv[s * TOKENS], m->keys + (start + s) * past,
                        m->values + (start + s) * past, f->frames[start + s], &w->attention, keep,
                        work->normed + s * TOKENS * WIDTH
                    );
                spend(f->spent, ATTENTION, &since);
                multiply(work->normed, WIDTH, rows, &w->attention_out, NULL, 1, finish_residual,
                         &residual);
            } else {
                Target hidden = {work->hidden[0], HIDDEN, w->up.bias};
                residual.bias = w->down.bias;
                multiply(work->normed, WIDTH, rows, &w->up, NULL, 1, finish_gelu, &hidden);
                multiply(work->hidden[0], HIDDEN, rows, &w->down, NULL, 1, finish_residual,
                         &residual);
            }
            spend(f->spent, PRODUCTS, &since);
        }
    }
}

// The frame's clean latents as the network predicts them: `latents` goes there by `pull`.
typedef struct {
    const Frame *frame;
    const Denoising *how;
    const float *bias;
    long start;
} Leaving;

INLINE void finish_leave(const float (*results)[32], long row, int rows, int column,
                         const void *context) {
    const Leaving *t = context;
    const float level = t->how->level, change = t->how->change;
    const int count = LATENTS - column < 32 ? LATENTS - column : 32;
    for (int i = 0; i < rows; i++) {
        long at = t->start * TOKENS + row + i;
        float before = t->frame->previous_level[at / TOKENS], unclear = 1 - before;
        // As `belief` in diffusion.py.
        float clarity = before * before + unclear * unclear;
        float variance = unclear * unclear / clarity + change * change;
        float total = level * level * variance + (1 - level) * (1 - level);
        float gain = level * variance / total, scale = sqrtf(variance / total) * (1 - level);
        float *latents = t->frame->latents + at * LATENTS + column;
        const float *previous = t->frame->previous + at * LATENTS + column;
        for (int j = 0; j < count; j++) {
            float mean = previous[j] * (before / clarity);
            mean += gain * (latents[j] - level * mean);
            float predicted = mean + scale * (results[i][j] + t->bias[column + j]);
            latents[j] += t->how->pull * (predicted - latents[j]);
        }
    }
}

// Token by token, the noisy view and the frame before, side by side.
static void join_latents(const Frame *f, long start, long rows, P *out) {
    for (long i = 0; i < rows; i++) {
        const float *noisy = f->latents + (start * TOKENS + i) * LATENTS;
        const float *previous = f->previous + (start * TOKENS + i) * LATENTS;
        for (int j = 0; j < LATENTS; j++) {
            out[i * 2 * LATENTS + j] = down(noisy[j]);
            out[i * 2 * LATENTS + LATENTS + j] = down(previous[j]);
        }
    }
}

// One pass. Without `f->pooled` it denoises `f->latents`; with it the frame is committed.
void pass_frame(long slots, int threads, const Network *network, const Frame *f,
                const Denoising *how) {
    static _Thread_local Workspace work;
    // As many slots at a time for all threads, in as few turns as they allow.
    const long turns = (slots + threads * SLOTS - 1) / (threads * SLOTS) * threads;
    const long most = (slots + turns - 1) / turns;
    SLOTS_IN_PARALLEL
    for (long start = 0; start < slots; start += most) {
        const TileShapes before = take_tiles();
        const long count = slots - start < most ? slots - start : most, rows = count * TOKENS;
        struct { float (*x)[WIDTH]; const float *bias, *position; } entered = {
            work.x, network->enter.bias, network->position,
        };
        join_latents(f, start, rows, work.normed);
        multiply(work.normed, 2 * LATENTS, rows, &network->enter, NULL, 1, finish_enter, &entered);
        pass_layers(network, f, start, count, &work);
        for (long i = 0; i < rows; i++) {
            float squares = 0, *x = work.x[i];
            for (int j = 0; j < WIDTH; j++) squares += x[j] * x[j];
            float factor = rms_factor(squares, WIDTH);
            for (int j = 0; j < WIDTH; j++) x[j] *= factor;
        }
        if (f->pooled) {
            for (long i = 0; i < 5 * count; i++) {
                float *to = f->pooled + (5 * start + i) * WIDTH;
                memset(to, 0, WIDTH * sizeof *to);
                for (int k = 0; k < TOKENS; k++) {
                    const float share = network->pool[i % 5 * TOKENS + k];
                    const float *x = work.x[i / 5 * TOKENS + k];
                    for (int j = 0; j < WIDTH; j++) to[j] += share * x[j];
                }
            }
        } else {
            Leaving leaving = {f, how, network->leave.bias, start};
            for (long i = 0; i < rows; i++)
                for (int j = 0; j < WIDTH; j++) work.normed[i * WIDTH + j] = down(work.x[i][j]);
            multiply(work.normed, WIDTH, rows, &network->leave, NULL, 1, finish_leave, &leaving);
        }
        give_tiles_back(&before);
    }
}

#endif
