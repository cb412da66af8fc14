// Attention of many rows of one sequence at consecutive positions, for prompts: each reads up to
// and with its own position. (FlashAttention-2, arXiv 2307.08691, over the paged cache.)
//
// A block has the query heads of one kv head, of a tile of rows: up to 64 pairs of a row and a
// head, sixteen of them in a warp, so that what a warp reads of keys and values serves sixteen. Its
// four warps read much the same and share nothing else: there is no barrier here. The fragments are
// those of `attention.cu`, with sixteen pairs where heads are there: nothing moves between lanes
// but the numbers that belong to a pair.
//
// Positions go in chunks that begin at multiples of their size, and a chunk of which a pair sees
// nothing changes none of its bits: so a row's result depends neither on its tile nor on how many
// of the prompt's rows are in the step.
#include "attention.cuh"

constexpr uint32_t PREFILL_WARPS = 4;
constexpr uint32_t PAIRS = 16;  // in a warp

// Rows of one sequence.
struct PrefillTile {
    uint32_t first_row;
    uint32_t rows;  // times query heads of a kv head: 64 at most
};

struct Prefill {
    const uint16_t* queries;       // bf16 [rows][heads][dim]
    const uint16_t* keys;          // the layer's, [block][kv head][16][dim]
    const uint16_t* values;
    const PrefillTile* tiles;      // one for each blockIdx.x; blockIdx.y is the kv head
    const uint32_t* positions;     // [rows]
    const uint32_t* table_starts;  // [rows]: where in `block_tables` a row's begins
    const uint32_t* block_tables;
    uint16_t* out;                 // bf16 [rows][out_stride]
    uint32_t heads, kv_heads, out_stride;
    uint32_t window;               // 0: none
    float scale, softcap;          // softcap 0: none
};

DEVICE uint32_t first_seen(uint32_t window, uint32_t last) {
    return window != 0 && last >= window ? last - window + 1 : 0;
}

// A row and head: pairs g and g + 8 of its warp are a lane's.
struct Pair {
    const uint16_t* query;
    uint32_t row, head, from, last;
    bool is_there;
    float highest, weight;  // `weight`: the lane's part of the sum
};

template <int DIM>
DEVICE Pair pair_at(const Prefill& p, const PrefillTile& tile, uint32_t index) {
    uint32_t group = p.heads / p.kv_heads;
    Pair pair = {p.queries, 0, 0, 1, 0, index < tile.rows * group, NOTHING, 0.0f};
    if (pair.is_there) {
        pair.row = tile.first_row + index / group;
        pair.head = blockIdx.y * group + index % group;
        pair.last = p.positions[pair.row];
        pair.from = first_seen(p.window, pair.last);
        pair.query += (size_t{pair.row} * p.heads + pair.head) * DIM;
    }
    return pair;
}

// Of positions 2t, 2t+1, 2t+8, 2t+9 of a block: what the pair makes of its products with them.
DEVICE void score(const Prefill& p, const Pair& pair, uint32_t first, uint32_t t, const float* low,
                  const float* high, float scores[4]) {
#pragma unroll
    for (uint32_t i = 0; i < 4; ++i) {
        uint32_t position = first + 2 * t + i % 2 + i / 2 * 8;
        float value = (i < 2 ? low[i] : high[i - 2]) * p.scale;
        if (p.softcap != 0.0f) value = p.softcap * tanhf(value / p.softcap);
        bool is_seen = position <= pair.last && position >= pair.from;
        scores[i] = is_seen ? value : 2.0f * NOTHING;
    }
}

// Scores become weights against the highest score so far; returns the factor on what was summed up
// with the one before.
template <int BLOCKS>
DEVICE float weigh(Pair& pair, const float scores[BLOCKS][4], uint32_t weights[BLOCKS][2]) {
    float highest = pair.highest;
#pragma unroll
    for (int b = 0; b < BLOCKS; ++b) {
#pragma unroll
        for (int i = 0; i < 4; ++i) highest = fmaxf(highest, scores[b][i]);
    }
    highest = fmaxf(highest, __shfl_xor_sync(0xFFFFFFFFu, highest, 1));
    highest = fmaxf(highest, __shfl_xor_sync(0xFFFFFFFFu, highest, 2));
    float factor = weight_at(pair.highest, highest);
    pair.highest = highest;
    pair.weight *= factor;
#pragma unroll
    for (int b = 0; b < BLOCKS; ++b) {
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            uint32_t both = pack_bf16(weight_at(scores[b][2 * i], highest),
                                      weight_at(scores[b][2 * i + 1], highest));
            // What is divided by later is the sum of what is multiplied with here.
            pair.weight += bf16_to_f32(both & 0xFFFF) + bf16_to_f32(both >> 16);
            weights[b][i] = both;
        }
    }
    return factor;
}

// A number of pair g of each lane, for the lane's columns of a product: pairs 2t and 2t + 1.
DEVICE void of_columns(float of_pair, uint32_t t, float columns[2]) {
    columns[0] = __shfl_sync(0xFFFFFFFFu, of_pair, static_cast<int>(8 * t));
    columns[1] = __shfl_sync(0xFFFFFFFFu, of_pair, static_cast<int>(8 * t + 4));
}

// Of a warp's pairs. `BLOCKS` blocks of 16 positions are a chunk.
template <int DIM, int BLOCKS>
DEVICE void prefill(const Prefill& p) {
    uint32_t lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
    PrefillTile tile = p.tiles[blockIdx.x];
    uint32_t kv_head = blockIdx.y, group = p.heads / p.kv_heads;
    uint32_t first_pair = threadIdx.x / 32 * PAIRS, all_pairs = tile.rows * group;
    // Whole warps leave, and there is no barrier.
    if (first_pair >= all_pairs) return;
    uint32_t last_pair = first_pair + PAIRS < all_pairs ? first_pair + PAIRS - 1 : all_pairs - 1;
    uint32_t last = p.positions[tile.first_row + last_pair / group];
    uint32_t from = first_seen(p.window, p.positions[tile.first_row + first_pair / group]);
    const uint32_t* table = p.block_tables + p.table_starts[tile.first_row];
    Pair pairs[2] = {pair_at<DIM>(p, tile, first_pair + g),
                     pair_at<DIM>(p, tile, first_pair + g + 8)};

    // [h][s][i]: values 64 * s + 8g + 2i and the next; pairs 8h + 2t and the next.
    float sums[2][DIM / 64][4][4] = {};
    constexpr uint32_t CHUNK = BLOCKS * KV_BLOCK;
    for (uint32_t start = from / CHUNK * CHUNK; start <= last; start += CHUNK) {
        size_t places[BLOCKS];
        bool is_read[BLOCKS];
        float scores[2][BLOCKS][4];
#pragma unroll
        for (int b = 0; b < BLOCKS; ++b) {
            uint32_t first = start + b * KV_BLOCK;
            is_read[b] = first <= last && first + KV_BLOCK > from;
            size_t block = is_read[b] ? table[first / KV_BLOCK] : 0;
            places[b] = (block * p.kv_heads + kv_head) * (KV_BLOCK * DIM);
            float low[4] = {0, 0, 0, 0}, high[4] = {0, 0, 0, 0};
            if (is_read[b]) {
                const uint16_t* keys = p.keys + places[b] + g * DIM + 8 * t;
                // Slots beyond the last position have never been written, or by another sequence.
                bool has_low = first + g <= last, has_high = first + g + 8 <= last;
#pragma unroll
                for (int c = 0; c < DIM / 32; ++c) {
                    uint32_t at = 32 * c + 8 * t;
                    uint4 q0 = pairs[0].is_there ? read16(pairs[0].query + at) : zeros();
                    uint4 q1 = pairs[1].is_there ? read16(pairs[1].query + at) : zeros();
                    uint4 k0 = has_low ? read16(keys + 32 * c) : zeros();
                    uint4 k1 = has_high ? read16(keys + 8 * DIM + 32 * c) : zeros();
                    mma(low, q0.x, q1.x, q0.y, q1.y, k0.x, k0.y);
                    mma(low, q0.z, q1.z, q0.w, q1.w, k0.z, k0.w);
                    mma(high, q0.x, q1.x, q0.y, q1.y, k1.x, k1.y);
                    mma(high, q0.z, q1.z, q0.w, q1.w, k1.z, k1.w);
                }
            }
#pragma unroll
            for (int h = 0; h < 2; ++h) {
                score(p, pairs[h], first, t, low + 2 * h, high + 2 * h, scores[h][b]);
            }
        }
        uint32_t weights[2][BLOCKS][2];
#pragma unroll
        for (int h = 0; h < 2; ++h) {
            float factors[2];
            of_columns(weigh<BLOCKS>(pairs[h], scores[h], weights[h]), t, factors);
#pragma unroll
            for (int s = 0; s < DIM / 64; ++s) {
#pragma unroll
                for (int i = 0; i < 4; ++i) {
#pragma unroll
                    for (int j = 0; j < 4; ++j) sums[h][s][i][j] *= factors[j % 2];
                }
            }
        }
#pragma unroll
        for (int b = 0; b < BLOCKS; ++b) {
            if (!is_read[b]) continue;
            const uint16_t* values = p.values + places[b] + 8 * g;
#pragma unroll
            for (int s = 0; s < DIM / 64; ++s) {
                uint4 v[4];  // positions 2t, 2t+1, 2t+8, 2t+9
#pragma unroll
                for (uint32_t i = 0; i < 4; ++i) {
                    uint32_t in_block = 2 * t + i % 2 + i / 2 * 8;
                    bool is_there = start + b * KV_BLOCK + in_block <= last;
                    v[i] = is_there ? read16(values + in_block * DIM + 64 * s) : zeros();
                }
#pragma unroll
                for (uint32_t i = 0; i < 4; ++i) {
                    uint32_t v0 = nth_word(v[0], i), v1 = nth_word(v[1], i);
                    uint32_t v2 = nth_word(v[2], i), v3 = nth_word(v[3], i);
                    uint32_t a0 = __byte_perm(v0, v1, 0x5410), a1 = __byte_perm(v0, v1, 0x7632);
                    uint32_t a2 = __byte_perm(v2, v3, 0x5410), a3 = __byte_perm(v2, v3, 0x7632);
                    mma(sums[0][s][i], a0, a1, a2, a3, weights[0][b][0], weights[0][b][1]);
                    mma(sums[1][s][i], a0, a1, a2, a3, weights[1][b][0], weights[1][b][1]);
                }
            }
        }
    }

#pragma unroll
    for (int h = 0; h < 2; ++h) {
        float weight = pairs[h].weight, totals[2];
        weight += __shfl_xor_sync(0xFFFFFFFFu, weight, 1);
        weight += __shfl_xor_sync(0xFFFFFFFFu, weight, 2);
        of_columns(weight, t, totals);
#pragma unroll
        for (uint32_t j = 0; j < 2; ++j) {
            uint32_t pair = first_pair + 8 * h + 2 * t + j;
            if (pair >= all_pairs) continue;
            uint32_t head = kv_head * group + pair % group;
            size_t row = tile.first_row + pair / group;
            uint16_t* out = p.out + row * p.out_stride + head * DIM;
#pragma unroll
            for (int s = 0; s < DIM / 64; ++s) {
                uint32_t words[4];
#pragma unroll
                for (int i = 0; i < 4; ++i) {
                    const float* sum = sums[h][s][i];
                    words[i] = pack_bf16(sum[j] / totals[j], sum[2 + j] / totals[j]);
                }
                *reinterpret_cast<uint4*>(out + 64 * s + 8 * g) =
                    make_uint4(words[0], words[1], words[2], words[3]);
            }
        }
    }
}

#define PREFILL(dim, blocks)                                                               \
    extern "C" __global__ void __launch_bounds__(PREFILL_WARPS * 32, 2)                    \
        prefill_##dim(const __grid_constant__ Prefill p) {                                 \
        prefill<dim, blocks>(p);                                                           \
    }
PREFILL(64, 4)
PREFILL(128, 4)
PREFILL(256, 2)
