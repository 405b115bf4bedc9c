// Where time goes, for those who ask: seconds of all threads together, added up by part.

#ifndef PARTS_H
#define PARTS_H

#include "numbers.h"
#include <time.h>

// The order of `PARTS` in tile_stepping.py.
enum { PRODUCTS, NORMS, SCAN, ATTENTION, CONVOLUTIONS, IMAGES };

INLINE double clock_of(const double *spent) {
    struct timespec now;
    if (!spent) return 0;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return now.tv_sec + 1e-9 * now.tv_nsec;
}

// Add what passed since `*since` to a part; `spent` may be NULL.
INLINE void spend(double *spent, int part, double *since) {
    if (!spent) return;
    double now = clock_of(spent);
    _Pragma("omp atomic")
    spent[part] += now - *since;
    *since = now;
}

#endif
