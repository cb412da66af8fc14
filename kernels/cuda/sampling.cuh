// What choosing a token is made of: the order of ids, their weights, and searches in both.
//
// One block works on one row. Nothing here depends on the order in which threads come: weights are
// whole numbers, whose sums have one value; what is listed by whoever comes first is then sorted.
#pragma once

#include "machine.cuh"

constexpr uint32_t SAMPLE_THREADS = 1024;
constexpr uint32_t SAMPLE_WARPS = SAMPLE_THREADS / 32;
constexpr uint32_t ALL_LANES = 0xFFFFFFFF;
constexpr uint32_t MAX_LISTED = SAMPLE_THREADS;  // one for each thread
constexpr uint32_t RANGE_PARTS = 4;  // that a range is divided into: more would not fit in registers

struct SampleShared {
    uint64_t list[MAX_LISTED];
    uint64_t sums[RANGE_PARTS][SAMPLE_WARPS];
    uint32_t counts[RANGE_PARTS][SAMPLE_WARPS];
    uint64_t found;
    uint32_t listed;
};

struct LogitRow {
    float* logits;
    uint32_t vocab;
};

// Gives `use` every `stride`-th logit; several are on their way at a time.
template <class F>
DEVICE void for_each(const LogitRow& row, uint32_t from, uint32_t to, uint32_t stride, F use) {
    constexpr uint32_t AT_ONCE = 4;
    for (uint32_t first = from; first < to; first += AT_ONCE * stride) {
        float logits[AT_ONCE];
#pragma unroll
        for (uint32_t n = 0; n < AT_ONCE; ++n) {
            uint32_t id = first + n * stride;
            logits[n] = id < to ? row.logits[id] : 0.0f;
        }
#pragma unroll
        for (uint32_t n = 0; n < AT_ONCE; ++n) {
            uint32_t id = first + n * stride;
            if (id < to) use(id, logits[n]);
        }
    }
}

// The same of a thread's share of the row.
template <class F>
DEVICE void for_mine(const LogitRow& row, F use) {
    for_each(row, threadIdx.x, row.vocab, SAMPLE_THREADS, use);
}

// --- Order

// Ids in one order, the best highest: by logit, the lowest id first among equals. The upper half is
// the logit's bits, those of negative ones turned over; -0 counts as 0. Impossible ids are at 0,
// and a NaN is above everything.
constexpr uint64_t IMPOSSIBLE = 0, LOWEST_RANK = 1, END_OF_RANKS = ~uint64_t{0};
constexpr uint64_t RANK_OF_NAN = END_OF_RANKS;

DEVICE uint64_t rank_of(float logit, uint32_t id) {
    uint32_t bits = logit == 0.0f ? 0 : __float_as_uint(logit);
    if (bits == 0xFF800000) return IMPOSSIBLE;
    uint32_t ordered = bits & 0x80000000 ? ~bits : bits | 0x80000000;
    return uint64_t{ordered} << 32 | ~id;
}

DEVICE float logit_of(uint64_t rank) {
    uint32_t ordered = static_cast<uint32_t>(rank >> 32);
    return __uint_as_float(ordered & 0x80000000 ? ordered & 0x7FFFFFFF : ~ordered);
}

DEVICE uint32_t id_of(uint64_t rank) { return ~static_cast<uint32_t>(rank); }

DEVICE uint64_t warp_max(uint64_t value) {
    uint32_t high = static_cast<uint32_t>(value >> 32), low = static_cast<uint32_t>(value);
    uint32_t highest = __reduce_max_sync(ALL_LANES, high);
    return uint64_t{highest} << 32 | __reduce_max_sync(ALL_LANES, high == highest ? low : 0);
}

// The highest of the block, in every thread.
DEVICE uint64_t block_max(uint64_t value, SampleShared& shared) {
    uint32_t warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    value = warp_max(value);
    __syncthreads();
    if (lane == 0) shared.sums[0][warp] = value;
    __syncthreads();
    return warp_max(shared.sums[0][lane]);
}

// --- Weights

// e to the power of `x` for x <= 0: the host's own (`engine/sampler/vector.rs`), operation for
// operation, so that both round alike.
DEVICE float exp_as_host(float x) {
    constexpr float ROUND = 12582912.0f;
    constexpr float COEFFICIENTS[] = {1.3982e-3f,     8.333452e-3f, 4.1665796e-2f,
                                      0.16666666f, 0.5f};
    float clamped = x > -87.0f ? x : -87.0f;
    float rounded = __fadd_rn(__fmul_rn(clamped, 1.44269504088896341f), ROUND);
    float n = __fsub_rn(rounded, ROUND);
    float r = __fsub_rn(clamped, __fmul_rn(n, 0.6933594f));
    r = __fsub_rn(r, __fmul_rn(n, -2.1219444e-4f));
    float polynomial = 1.9875691e-4f;
#pragma unroll
    for (float coefficient : COEFFICIENTS) {
        polynomial = __fadd_rn(__fmul_rn(polynomial, r), coefficient);
    }
    float mantissa = __fmul_rn(__fmul_rn(polynomial, r), r);
    mantissa = __fadd_rn(__fadd_rn(mantissa, r), 1.0f);
    uint32_t exponent = (__float_as_uint(rounded) - __float_as_uint(ROUND) + 127) << 23;
    float power = __fmul_rn(mantissa, __uint_as_float(exponent));
    return x >= -87.0f ? power : 0.0f;
}

constexpr float WEIGHT_UNITS = 17179869184.0f;  // 2^34 to the weight of the highest logit

// How logits become weights: exp((logit - max) / temperature), none where that exponent is below
// `floor`.
struct Weighting {
    float max, temperature, floor;

    DEVICE uint64_t units(float logit) const {
        float below = __fsub_rn(logit, max);
        // e^-25 is less than half a unit; most ids are there, and need no more work.
        if (below < -25.0f * temperature) return 0;
        float exponent = temperature == 1.0f ? below : __fdiv_rn(below, temperature);
        if (!(exponent >= floor)) return 0;
        return __float2ull_rn(__fmul_rn(exp_as_host(exponent), WEIGHT_UNITS));
    }
};

// Below 2^53 in all, so that neither half overflows.
DEVICE uint64_t warp_total(uint64_t value) {
    constexpr uint32_t BITS = 27;
    uint32_t low = static_cast<uint32_t>(value & ((1u << BITS) - 1));
    uint64_t high = __reduce_add_sync(ALL_LANES, static_cast<uint32_t>(value >> BITS));
    return (high << BITS) + __reduce_add_sync(ALL_LANES, low);
}

DEVICE uint64_t block_total(uint64_t value, SampleShared& shared) {
    uint32_t warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    value = warp_total(value);
    __syncthreads();
    if (lane == 0) shared.sums[0][warp] = value;
    __syncthreads();
    return warp_total(shared.sums[0][lane]);
}

// The weights of all ids from this rank on.
DEVICE uint64_t row_total(const LogitRow& row, const Weighting& weighting, uint64_t lowest,
                          SampleShared& shared) {
    uint64_t sum = 0;
    for_mine(row, [&](uint32_t id, float logit) {
        if (rank_of(logit, id) >= lowest) sum += weighting.units(logit);
    });
    return block_total(sum, shared);
}

// The sum of the values of all threads up to this one, and of all of them.
DEVICE uint64_t block_prefix(uint64_t value, uint64_t& total, SampleShared& shared) {
    uint32_t warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    uint64_t sum = value;
    for (uint32_t step = 1; step < 32; step *= 2) {
        int from = static_cast<int>(lane - step) & 31;
        uint64_t low = __shfl_sync(ALL_LANES, static_cast<uint32_t>(sum), from);
        uint64_t high = __shfl_sync(ALL_LANES, static_cast<uint32_t>(sum >> 32), from);
        if (lane >= step) sum += high << 32 | low;
    }
    __syncthreads();
    if (lane == 31) shared.sums[0][warp] = sum;
    __syncthreads();
    total = warp_total(shared.sums[0][lane]);
    return sum + warp_total(lane < warp ? shared.sums[0][lane] : 0);
}

// --- Lists of the best

// Puts the list in order, the best first.
DEVICE void sort_list(SampleShared& shared) {
    uint32_t mine = threadIdx.x;
    // Code that stays small: written out, 55 steps are fetched more slowly than they are run.
#pragma unroll 1
    for (uint32_t size = 2; size <= MAX_LISTED; size *= 2) {
#pragma unroll 1
        for (uint32_t step = size / 2; step > 0; step /= 2) {
            __syncthreads();
            uint32_t other = mine ^ step;
            if (other < mine) continue;
            uint64_t a = shared.list[mine], b = shared.list[other];
            bool is_descending = (mine & size) == 0;
            if (a != b && (a < b) == is_descending) {
                shared.list[mine] = b;
                shared.list[other] = a;
            }
        }
    }
    __syncthreads();
}

// Lists all ids with ranks in [lowest, end), and returns how many these are. Of more than
// MAX_LISTED the list holds nothing that may be looked at.
DEVICE uint32_t list_ranks(const LogitRow& row, uint64_t lowest, uint64_t end,
                           SampleShared& shared) {
    __syncthreads();
    shared.list[threadIdx.x] = IMPOSSIBLE;
    if (threadIdx.x == 0) shared.listed = 0;
    __syncthreads();
    for_mine(row, [&](uint32_t id, float logit) {
        uint64_t rank = rank_of(logit, id);
        if (rank < lowest || rank >= end) return;
        uint32_t at = atomicAdd(&shared.listed, 1);
        if (at < MAX_LISTED) shared.list[at] = rank;
    });
    __syncthreads();
    uint32_t listed = shared.listed;
    if (listed <= MAX_LISTED) sort_list(shared);
    return listed;
}

// Lists the best ids, `count` of them (up to 512) and, mostly, some more. `best` is the best rank
// among each thread's ids: from the `count`-th best of these on there are `count` ids at least, and
// few more unless the best belong to few threads. Returns from which rank on all are listed;
// END_OF_RANKS if they were too many.
DEVICE uint64_t list_best(const LogitRow& row, uint64_t best, uint32_t count,
                          SampleShared& shared) {
    __syncthreads();
    shared.list[threadIdx.x] = best;
    sort_list(shared);
    uint64_t lowest = shared.list[count - 1];
    if (lowest == IMPOSSIBLE) lowest = LOWEST_RANK;
    bool fits = list_ranks(row, lowest, END_OF_RANKS, shared) <= MAX_LISTED;
    return fits ? lowest : END_OF_RANKS;
}

// --- Searches

// What is summed up: weights, or ids.
struct Measure {
    bool is_weight;
    Weighting weighting;

    DEVICE uint64_t of(float logit) const { return is_weight ? weighting.units(logit) : 1; }
};

// Ranks in [lowest, end), of `count` ids; those from `end` on measure `above`.
struct Ranks {
    uint64_t lowest, end, above;
    uint32_t count;
};

// Keeps that part in which the sum, from the best id on, reaches `target`. False if it never does.
DEVICE bool narrow(Ranks& ranks, const LogitRow& row, const Measure& measure, uint64_t target,
                   SampleShared& shared) {
    uint32_t warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    uint64_t last = ranks.end - ranks.lowest - 1;
    uint32_t shift = last < RANGE_PARTS ? 0 : 62 - static_cast<uint32_t>(__clzll(last));
    // How many in the upper 16 bits: a thread has 512 ids at most, whose weights are below 2^44.
    constexpr uint32_t BITS = 48;
    uint64_t sums[RANGE_PARTS] = {};
    for_mine(row, [&](uint32_t id, float logit) {
        uint64_t rank = rank_of(logit, id);
        if (rank < ranks.lowest || rank >= ranks.end) return;
        uint32_t part = static_cast<uint32_t>((rank - ranks.lowest) >> shift);
        uint64_t size = measure.of(logit) + (uint64_t{1} << BITS);
#pragma unroll
        for (uint32_t n = 0; n < RANGE_PARTS; ++n) sums[n] += n == part ? size : 0;
    });
    __syncthreads();
#pragma unroll
    for (uint32_t n = 0; n < RANGE_PARTS; ++n) {
        uint32_t count = __reduce_add_sync(ALL_LANES, static_cast<uint32_t>(sums[n] >> BITS));
        uint64_t sum = warp_total(sums[n] & ((uint64_t{1} << BITS) - 1));
        if (lane != 0) continue;
        shared.counts[n][warp] = count;
        shared.sums[n][warp] = sum;
    }
    __syncthreads();
    for (uint32_t n = RANGE_PARTS; n-- > 0;) {
        uint64_t sum = warp_total(shared.sums[n][lane]);
        if (ranks.above + sum < target) {
            ranks.above += sum;
            continue;
        }
        ranks.count = __reduce_add_sync(ALL_LANES, shared.counts[n][lane]);
        ranks.lowest += uint64_t{n} << shift;
        uint64_t size = uint64_t{1} << shift;
        if (ranks.end - ranks.lowest > size) ranks.end = ranks.lowest + size;
        return true;
    }
    return false;
}

// The rank at which the sum, from the best id on, reaches `target`; the lowest there is if it never
// does. Few ids are listed, many told apart first.
DEVICE uint64_t find_rank(Ranks ranks, const LogitRow& row, const Measure& measure,
                          uint64_t target, SampleShared& shared) {
    while (ranks.count > MAX_LISTED) {
        if (!narrow(ranks, row, measure, target, shared)) return LOWEST_RANK;
    }
    list_ranks(row, ranks.lowest, ranks.end, shared);
    uint64_t rank = shared.list[threadIdx.x], total;
    uint64_t size = rank == IMPOSSIBLE ? 0 : measure.of(logit_of(rank));
    uint64_t until = ranks.above + block_prefix(size, total, shared);
    if (ranks.above + total < target) return LOWEST_RANK;
    if (until >= target && until - size < target) shared.found = rank;
    __syncthreads();
    return shared.found;
}
