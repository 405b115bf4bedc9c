// What a frame's features say besides pixels: reward and continuation. As heads.py has it.

#include "numbers.h"

typedef struct {
    const float *body, *body_bias;    // (width in, width out), (width,)
    const float *logits, *logit_bias; // of each value, then of continuation: (values + 1, width)
    const float *values;
    int64_t count;                    // of values
    int64_t exact;                    // whether the likeliest value is told, or the expected one
} Head;
SIZE_OF(Head)

INLINE void outcome_slot(const Head *head, const float *features, float *out) {
    const long count = head->count;
    float hidden[WIDTH], most = -INFINITY, total = 0, expected = 0;
    long likeliest = 0;
    memcpy(hidden, head->body_bias, sizeof hidden);
    for (int i = 0; i < WIDTH; i++)
        for (int j = 0; j < WIDTH; j++) hidden[j] += features[i] * head->body[i * WIDTH + j];
    for (int j = 0; j < WIDTH; j++) hidden[j] = silu(hidden[j]);
    for (long k = 0; k <= count; k++) {
        float sum = head->logit_bias[k];
        for (int j = 0; j < WIDTH; j++) sum += hidden[j] * head->logits[k * WIDTH + j];
        out[k] = sum;
        if (k < count && sum > most) most = sum, likeliest = k;
    }
    const float continuation = 1.f / (1.f + fast_exp(-out[count]));
    for (long k = 0; k < count; k++) total += out[k] = fast_exp(out[k] - most);
    for (long k = 0; k < count; k++) expected += (out[k] /= total) * head->values[k];
    out[count] = head->exact ? head->values[likeliest] : expected;
    out[count + 1] = continuation;
}

// Features of slot s at features + s · pitch; out (slots, values + 2): the probability of each
// value, the reward, the probability that the episode goes on.
void outcomes(
    long slots, int threads, const Head *head, const float *features, long pitch, float *out
) {
    SLOTS_IN_PARALLEL
    for (long s = 0; s < slots; s++)
        outcome_slot(head, features + s * pitch, out + s * (head->count + 2));
}
