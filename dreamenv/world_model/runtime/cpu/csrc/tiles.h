// Matrix products in bfloat16 on the tile unit of x86 processors (AMX).
//
// A tile is 16 rows of 64 bytes. One instruction adds to 16 × 16 floats the product of 16 × 32 and
// 32 × 16 bfloat16 numbers, of which the second are stored with pairs of rows interleaved. Blocks
// of 32 × 32 results are summed in four tiles, so that what is loaded is used twice, and handed
// to a function that does with them what comes next, while they are in the nearest cache.

#ifndef TILES_H
#define TILES_H

#include "numbers.h"
#include <immintrin.h>

#if !defined(__AMX_BF16__) || !defined(__AVX512BF16__)
#error this processor or compiler knows no tiles
#endif

// Weights (columns, depth) as tile_stepping.py packs them: for every 32 columns, in steps of 32
// deep, two tiles. Numbers of columns are filled up with zeros to a multiple of 32.
typedef struct {
    const P *tiles;
    long columns, depth;
    const float *bias;  // may be NULL
} Weights;

typedef float Results[32][32];

typedef struct {
    uint8_t palette, first_row, unused[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} __attribute__((aligned(64))) TileShapes;

// Other libraries in this process use tiles too, and may count on what they set.
INLINE TileShapes take_tiles(void) {
    TileShapes before, all = {.palette = 1};
    _tile_storeconfig(&before);
    for (int i = 0; i < 8; i++) all.row_bytes[i] = 64, all.rows[i] = 16;
    _tile_loadconfig(&all);
    return before;
}
INLINE void give_tiles_back(const TileShapes *before) {
    if (before->palette) _tile_loadconfig(before);
    else _tile_release();
}

// Results of one block. `a` has `pitch` numbers from row to row; with `parts` the product is a sum
// of as many, whose left factors begin at a + starts[i] (as in a convolution). At every step
// `lines` of 64 bytes from `ahead` on are called from memory.
INLINE void multiply_block(
    const P *a, long pitch, const long *starts, int parts, int steps, const P *b, int tall,
    Results out, const P *ahead, int lines
) {
    __asm__ volatile("" ::: "memory");  // what tiles load must have been written
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (int i = 0; i < parts; i++) {
        const P *at = a + (starts ? starts[i] : 0);
        for (int k = 0; k < steps; k++, at += 32, b += 1024) {
            for (int line = 0; line < lines; line++, ahead += 32) __builtin_prefetch(ahead, 0, 2);
            _tile_loadd(4, at, 2 * pitch);
            _tile_loadd(6, b, 64);
            _tile_loadd(7, b + 512, 64);
            _tile_dpbf16ps(0, 4, 6);
            _tile_dpbf16ps(1, 4, 7);
            if (!tall) continue;
            _tile_loadd(5, at + 16 * pitch, 2 * pitch);
            _tile_dpbf16ps(2, 5, 6);
            _tile_dpbf16ps(3, 5, 7);
        }
    }
    _tile_stored(0, out, 128);
    _tile_stored(1, (float *)out + 16, 128);
    if (!tall) return;
    _tile_stored(2, (float *)out + 512, 128);
    _tile_stored(3, (float *)out + 528, 128);
    __asm__ volatile("" ::: "memory");
}

// What is done with the results of `rows` ≤ 32 rows from `row` on, 32 columns from `column` on.
typedef void Finish(const float (*results)[32], long row, int rows, int column,
                    const void *context);

// a (rows, depth) · weights. `a` must be readable up to a multiple of 16 rows.
INLINE void multiply(
    const P *a, long pitch, long rows, const Weights *w, const long *starts, int parts,
    Finish finish, const void *context
) {
    Results results __attribute__((aligned(64)));
    const int steps = (int)(w->depth / 32 / parts);
    // A step multiplies 32 lines of weights; those of the next columns are shared out among blocks.
    const int lines = (int)((32 + (rows - 1) / 32) / ((rows + 31) / 32));
    for (long column = 0; column < w->columns; column += 32)
        for (long row = 0; row < rows; row += 32) {
            int some = rows - row < 32 ? (int)(rows - row) : 32;
            multiply_block(a + row * pitch, pitch, starts, parts, steps,
                           w->tiles + column * w->depth, some > 16, results,
                           w->tiles + (column + 32) * w->depth + row * lines * steps * parts,
                           lines);
            finish(results, row, some, (int)column, context);
        }
}

INLINE __m512 load_halves(const P *from) {
    __m512i bits = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)from));
    return _mm512_castsi512_ps(_mm512_slli_epi32(bits, 16));
}

// 16 or 32 floats as bfloat16, to the nearest.
INLINE void store_half(P *to, __m512 x) {
    _mm256_storeu_si256((__m256i *)to, (__m256i)_mm512_cvtneps_pbh(x));
}
INLINE void store_halves(P *to, __m512 first, __m512 second) {
    _mm512_storeu_si512(to, (__m512i)_mm512_cvtne2ps_pbh(second, first));
}

// Where results become the left factor of another product, with `pitch` numbers from row to row.
typedef struct {
    P *to;
    long pitch;
    const float *bias;
} Target;

INLINE void finish_plain(const float (*results)[32], long row, int rows, int column,
                         const void *context) {
    const Target *t = context;
    for (int i = 0; i < rows; i++)
        store_halves(t->to + (row + i) * t->pitch + column, _mm512_load_ps(results[i]),
                     _mm512_load_ps(results[i] + 16));
}

#endif
