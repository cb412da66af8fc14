// From a row's logits to one token: a block for each choice.
//
// The same token as the host's sampler (`engine/sampler`) chooses from the same logits with the
// same random number: the same order of ids, the same weights to the last bit, their sums exact.
#include "sampling.cuh"

constexpr uint32_t NOT_COUNTED = 0xFFFFFFFF, NO_MASK = 0xFFFFFFFF, NO_LOGPROBS = 0xFFFFFFFF;
constexpr uint32_t NOT_FINITE = 0xFFFFFFFF, NOTHING_ALLOWED = 0xFFFFFFFE;  // instead of a token
constexpr uint32_t MAX_TOP = 32, CHOSEN_WORDS = 3 + 2 * MAX_TOP;
constexpr uint32_t FEW = 512;  // so many best ids are listed at once

struct Choice {
    double random;
    uint32_t row;
    float temperature;
    uint32_t top_k;
    float top_p, floor, repetition_penalty, frequency_penalty, presence_penalty;
    uint32_t first_change, num_changes, mask, num_top;
};

struct Change {
    uint32_t id, count;
    float bias;
};

struct Sample {
    float* logits;           // [rows][vocab]
    const Choice* choices;   // [grid]
    Change* changes;
    const uint32_t* masks;   // [..][vocab / 32, rounded up]
    uint32_t* chosen;        // [grid][CHOSEN_WORDS]: token, log probability, number of pairs, pairs
    uint32_t vocab, padding;
};

DEVICE float changed(const Choice& choice, const Change& change, float logit) {
    if (__float_as_uint(change.bias) == 0xFF800000) {
        logit = change.bias;
    } else {
        logit = __fadd_rn(logit, change.bias);
    }
    if (change.count == NOT_COUNTED) return logit;
    float penalty = choice.repetition_penalty;
    logit = logit > 0.0f ? __fdiv_rn(logit, penalty) : __fmul_rn(logit, penalty);
    if (change.count == 0) return logit;
    float frequency = __fmul_rn(choice.frequency_penalty, static_cast<float>(change.count));
    return __fsub_rn(logit, __fadd_rn(frequency, choice.presence_penalty));
}

// The best rank among this thread's ids. Those that `mask` lacks become impossible.
DEVICE uint64_t best_of_mine(const LogitRow& row, const uint32_t* mask) {
    uint64_t best = IMPOSSIBLE;
    for_mine(row, [&](uint32_t id, float logit) {
        uint64_t rank = logit != logit ? RANK_OF_NAN : rank_of(logit, id);
        if (mask && !(mask[id / 32] >> id % 32 & 1)) {
            row.logits[id] = __uint_as_float(0xFF800000);
            rank = IMPOSSIBLE;
        }
        if (rank > best) best = rank;
    });
    return best;
}

// What a row with this best rank gives instead of a token; 0 if it gives one.
DEVICE uint32_t fault_of(uint64_t best) {
    if (best == IMPOSSIBLE) return NOTHING_ALLOWED;
    return best >> 32 >= 0xFF800000 ? NOT_FINITE : 0;
}

// The rank of the last id that `top_k` and `top_p` keep.
DEVICE uint64_t last_kept(const LogitRow& row, const Choice& choice, const Weighting& weighting,
                          uint64_t best, SampleShared& shared) {
    const Ranks all = {LOWEST_RANK, END_OF_RANKS, 0, row.vocab};
    uint64_t lowest = LOWEST_RANK, listed = END_OF_RANKS;
    if (choice.top_k > 0 && choice.top_k < row.vocab) {
        if (choice.top_k <= FEW) listed = list_best(row, best, choice.top_k, shared);
        if (listed == END_OF_RANKS) {
            lowest = find_rank(all, row, {false, weighting}, choice.top_k, shared);
        } else if (shared.list[choice.top_k - 1] != IMPOSSIBLE) {
            lowest = shared.list[choice.top_k - 1];
        }
    }
    if (choice.top_p >= 1.0f) return lowest;
    // Few ids hold most of the probability, mostly.
    if (listed == END_OF_RANKS) listed = list_best(row, best, FEW, shared);
    uint64_t rank = listed == END_OF_RANKS ? IMPOSSIBLE : shared.list[threadIdx.x];
    uint64_t units = rank >= lowest ? weighting.units(logit_of(rank)) : 0, of_list;
    uint64_t until = block_prefix(units, of_list, shared);
    uint64_t total = listed <= lowest ? of_list : row_total(row, weighting, lowest, shared);
    double share = ceil(static_cast<double>(choice.top_p) * static_cast<double>(total));
    uint64_t target = share < 1.0 ? 1 : static_cast<uint64_t>(share);
    if (of_list < target) {
        Ranks rest = {lowest, listed, of_list, row.vocab};
        return find_rank(rest, row, {true, weighting}, target, shared);
    }
    if (until >= target && until - units < target) shared.found = rank;
    __syncthreads();
    return shared.found;
}

// The id at which the sum of the weights, of those from rank `lowest` on in the order of ids,
// passes `random` of its whole. Each round, every warp sums up one of 32 parts of what is left.
DEVICE uint32_t draw(const LogitRow& row, const Weighting& weighting, uint64_t lowest,
                     double random, SampleShared& shared) {
    uint32_t warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    uint32_t start = 0, count = row.vocab, part;
    uint64_t before = 0, target = 0;
    do {
        part = (count + SAMPLE_WARPS - 1) / SAMPLE_WARPS;
        uint32_t from = warp * part, to = from + part < count ? from + part : count;
        uint64_t sum = 0;
        for_each(row, start + from + lane, start + to, 32, [&](uint32_t id, float logit) {
            if (rank_of(logit, id) >= lowest) sum += weighting.units(logit);
        });
        sum = warp_total(sum);
        __syncthreads();
        if (lane == 0) shared.sums[0][warp] = sum;
        __syncthreads();
        if (count == row.vocab) {
            double total = static_cast<double>(warp_total(shared.sums[0][lane]));
            target = static_cast<uint64_t>(random * total);
        }
        uint32_t nth = 0;
        for (; nth < SAMPLE_WARPS - 1 && before + shared.sums[0][nth] <= target; ++nth) {
            before += shared.sums[0][nth];
        }
        start += nth * part;
        count = count - nth * part < part ? count - nth * part : part;
    } while (part > 1);
    return start;
}

// What log probabilities are measured from.
struct Softmax {
    double max, log_sum;

    DEVICE uint32_t logprob(float logit) const {
        return __float_as_uint(static_cast<float>(static_cast<double>(logit) - max - log_sum));
    }
};

// Names the `count` most likely ids, and tells what all are measured from. `best` is the best rank
// of each thread, `highest` of all.
DEVICE void score(const LogitRow& row, uint64_t best, uint64_t highest, uint32_t count,
                  Softmax& softmax, uint32_t* chosen, SampleShared& shared) {
    const Weighting plain = {logit_of(highest), 1.0f, __uint_as_float(0xFF800000)};
    double total = static_cast<double>(row_total(row, plain, LOWEST_RANK, shared));
    if (threadIdx.x == 0) {
        softmax.max = static_cast<double>(plain.max);
        softmax.log_sum = log(total / static_cast<double>(WEIGHT_UNITS));
        chosen[2] = 0;
    }
    if (count > MAX_TOP) count = MAX_TOP;
    if (count == 0) return;
    if (list_best(row, best, count, shared) == END_OF_RANKS) {
        const Ranks all = {LOWEST_RANK, END_OF_RANKS, 0, row.vocab};
        uint64_t last = find_rank(all, row, {false, plain}, count, shared);
        list_ranks(row, last, END_OF_RANKS, shared);
    }
    uint32_t nth = threadIdx.x;
    uint64_t rank = shared.list[nth];
    if (nth >= count || rank == IMPOSSIBLE) return;
    chosen[3 + 2 * nth] = id_of(rank);
    chosen[4 + 2 * nth] = softmax.logprob(logit_of(rank));
    bool is_last = nth + 1 == count || shared.list[nth + 1] == IMPOSSIBLE;
    if (is_last) chosen[2] = nth + 1;
}

extern "C" __global__ void __launch_bounds__(SAMPLE_THREADS)
    sample(const __grid_constant__ Sample p) {
    __shared__ SampleShared shared;
    __shared__ Softmax softmax;
    follow();
    const Choice& choice = p.choices[blockIdx.x];
    const LogitRow row = {p.logits + size_t{choice.row} * p.vocab, p.vocab};
    Change* changes = p.changes + choice.first_change;
    uint32_t* chosen = p.chosen + size_t{blockIdx.x} * CHOSEN_WORDS;
    const bool is_scored = choice.num_top != NO_LOGPROBS;

    uint32_t fault = 0;
    if (is_scored) {
        uint64_t best = best_of_mine(row, nullptr), highest = block_max(best, shared);
        fault = fault_of(highest);
        if (!fault) score(row, best, highest, choice.num_top, softmax, chosen, shared);
        __syncthreads();  // Before logits change under those who list them.
    }

    for (uint32_t n = threadIdx.x; n < choice.num_changes; n += SAMPLE_THREADS) {
        Change change = changes[n];
        float logit = row.logits[change.id];
        row.logits[change.id] = changed(choice, change, logit);
        // Asked for again when log probabilities are.
        if (is_scored) changes[n].bias = logit;
    }
    __syncthreads();
    const uint32_t mask_words = (p.vocab + 31) / 32;
    const bool is_masked = choice.mask != NO_MASK;
    const uint32_t* mask = is_masked ? p.masks + size_t{choice.mask} * mask_words : nullptr;
    uint64_t best = best_of_mine(row, mask), highest = block_max(best, shared);
    // A fault of the choice is told before one of the log probabilities.
    if (uint32_t of_choice = fault_of(highest)) fault = of_choice;
    if (fault) {
        if (threadIdx.x == 0) chosen[0] = fault;
        return;
    }

    uint32_t token = id_of(highest);
    if (choice.temperature != 0.0f && choice.top_k != 1) {
        const Weighting weighting = {logit_of(highest), choice.temperature, choice.floor};
        uint64_t lowest = last_kept(row, choice, weighting, best, shared);
        token = draw(row, weighting, lowest, choice.random, shared);
    }
    if (threadIdx.x == 0) chosen[0] = token;
    if (!is_scored) return;
    if (threadIdx.x == 0) chosen[1] = softmax.logprob(row.logits[token]);
    __syncthreads();
    for (uint32_t n = threadIdx.x; n < choice.num_changes; n += SAMPLE_THREADS) {
        if (changes[n].id == token) chosen[1] = softmax.logprob(changes[n].bias);
    }
}
