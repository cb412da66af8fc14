// The highest logit of each row, the lowest token id among equals: a block for each row.
//
// A row with a NaN gives NO_TOKEN: the model has failed on it, and no token of it may be paid for.
#include "machine.cuh"

constexpr int ARGMAX_WARPS = 32;
constexpr uint32_t NO_TOKEN = 0xFFFFFFFF;

struct Argmax {
    const float* logits;  // [rows][vocab]
    uint32_t* tokens;     // [rows]
    uint32_t vocab, padding;
};

// A key that is ordered as (value, then lower index first): floats in the order of their bits, with
// those of negative ones turned over; -0 counts as 0. Two words, compared as one number.
struct Best {
    uint32_t value, index;
};

DEVICE uint32_t ordered(float value) {
    uint32_t bits = value == 0.0f ? 0 : __float_as_uint(value);
    return bits & 0x80000000 ? ~bits : bits | 0x80000000;
}

DEVICE Best better(Best a, Best b) {
    if (a.value != b.value) return a.value > b.value ? a : b;
    return a.index < b.index ? a : b;
}

DEVICE Best best_of_warp(Best best) {
    for (int step = 16; step > 0; step /= 2) {
        Best other;
        other.value = __shfl_xor_sync(0xFFFFFFFFu, best.value, step);
        other.index = __shfl_xor_sync(0xFFFFFFFFu, best.index, step);
        best = better(best, other);
    }
    return best;
}

extern "C" __global__ void __launch_bounds__(ARGMAX_WARPS * 32)
    argmax(const __grid_constant__ Argmax p) {
    __shared__ Best bests[ARGMAX_WARPS];
    const float* logits = p.logits + size_t{blockIdx.x} * p.vocab;
    // A NaN is above everything, at an index that is no token's.
    Best best = {0, NO_TOKEN};
    for (uint32_t i = threadIdx.x; i < p.vocab; i += ARGMAX_WARPS * 32) {
        float value = logits[i];
        bool is_nan = value != value;
        Best here = {is_nan ? 0xFFFFFFFF : ordered(value), is_nan ? NO_TOKEN : i};
        best = better(best, here);
    }
    best = best_of_warp(best);
    if (threadIdx.x % 32 == 0) bests[threadIdx.x / 32] = best;
    __syncthreads();
    if (threadIdx.x >= 32) return;
    best = best_of_warp(bests[threadIdx.x]);
    if (threadIdx.x == 0) p.tokens[blockIdx.x] = best.index;
}
