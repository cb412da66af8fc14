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
    const uint8_t* keys;           // the layer's, [block][kv head][16][dim]
    const uint8_t* values;
    const uint8_t* key_exponents;  // null if they are bf16
    const uint8_t* value_exponents;
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
template <class Stored, int DIM, int BLOCKS>
DEVICE void prefill(const Prefill& p) {
    using R = Reads<Stored, DIM>;
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

    // [h][i]: values R::value(i, g) and the next; pairs 8h + 2t and the next.
    float sums[2][R::PRODUCTS][4] = {};
    constexpr uint32_t CHUNK = BLOCKS * KV_BLOCK;
    for (uint32_t start = from / CHUNK * CHUNK; start <= last; start += CHUNK) {
        bool is_read[BLOCKS];
        float scores[2][BLOCKS][4];
#pragma unroll
        for (int b = 0; b < BLOCKS; ++b) {
            uint32_t first = start + b * KV_BLOCK;
            is_read[b] = first <= last && first + KV_BLOCK > from;
            float low[4] = {0, 0, 0, 0}, high[4] = {0, 0, 0, 0};
            if (is_read[b]) {
                uint32_t place = table[first / KV_BLOCK] * p.kv_heads + kv_head;
                const uint8_t* keys = R::tile(p.keys, place) + R::ROW_BYTES * g + 16 * t;
                // Slots beyond the last position have never been written, or by another sequence.
                bool has_low = first + g <= last, has_high = first + g + 8 <= last;
#pragma unroll
                for (int c = 0; c < R::KEY_LOADS; ++c) {
                    uint4 k0 = has_low ? read16(keys + 64 * c) : zeros();
                    uint4 k1 = has_high ? read16(keys + 8 * R::ROW_BYTES + 64 * c) : zeros();
                    uint32_t pairs0[R::KEY_VALUES / 2], pairs1[R::KEY_VALUES / 2];
                    Stored::widen(k0, pairs0);
                    Stored::widen(k1, pairs1);
#pragma unroll
                    for (int i = 0; i < R::KEY_VALUES / 8; ++i) {
                        uint32_t at = R::query(c * (R::KEY_VALUES / 8) + i, t);
                        uint4 q0 = pairs[0].is_there ? read16(pairs[0].query + at) : zeros();
                        uint4 q1 = pairs[1].is_there ? read16(pairs[1].query + at) : zeros();
                        const uint32_t *a = pairs0 + 4 * i, *b = pairs1 + 4 * i;
                        mma(low, q0.x, q1.x, q0.y, q1.y, a[0], a[1]);
                        mma(low, q0.z, q1.z, q0.w, q1.w, a[2], a[3]);
                        mma(high, q0.x, q1.x, q0.y, q1.y, b[0], b[1]);
                        mma(high, q0.z, q1.z, q0.w, q1.w, b[2], b[3]);
                    }
                }
                if (Stored::HAS_EXPONENTS) {
                    uint32_t exponents = read_exponents(p.key_exponents, place, t);
                    multiply_products(exponents, low, high);
                    multiply_products(exponents, low + 2, high + 2);
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
            for (int i = 0; i < R::PRODUCTS; ++i) {
#pragma unroll
                for (int j = 0; j < 4; ++j) sums[h][i][j] *= factors[j % 2];
            }
        }
#pragma unroll
        for (int b = 0; b < BLOCKS; ++b) {
            if (!is_read[b]) continue;
            uint32_t first = start + b * KV_BLOCK;
            // Looked up again: kept, heads of 256 values would have too few registers.
            uint32_t place = table[first / KV_BLOCK] * p.kv_heads + kv_head;
            if (Stored::HAS_EXPONENTS) {
                uint32_t exponents = read_exponents(p.value_exponents, place, t);
                multiply_weights(exponents, first, t, last, weights[0][b]);
                multiply_weights(exponents, first, t, last, weights[1][b]);
            }
            const uint8_t* values = R::tile(p.values, place) + R::VALUE_BYTES * g;
#pragma unroll
            for (int s = 0; s < R::VALUE_LOADS; ++s) {
                uint4 v[4];  // positions 2t, 2t+1, 2t+8, 2t+9
#pragma unroll
                for (uint32_t i = 0; i < 4; ++i) {
                    uint32_t in_block = 2 * t + i % 2 + i / 2 * 8;
                    const uint8_t* from = values + in_block * R::ROW_BYTES + 8 * R::VALUE_BYTES * s;
                    R::load_values(from, first + in_block <= last, v[i]);
                }
#pragma unroll
                for (uint32_t n = 0; n < R::VALUE_BYTES / 4; ++n) {
                    uint32_t a[R::WORD_PRODUCTS][4];
                    R::turn_values(v, n, a);
#pragma unroll
                    for (int i = 0; i < R::WORD_PRODUCTS; ++i) {
                        int product = s * R::LOAD_PRODUCTS + n * R::WORD_PRODUCTS + i;
#pragma unroll
                        for (int h = 0; h < 2; ++h) {
                            mma(sums[h][product], a[i][0], a[i][1], a[i][2], a[i][3],
                                weights[h][b][0], weights[h][b][1]);
                        }
                    }
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
            for (int n = 0; n < R::PRODUCTS; n += 4) {
                uint32_t words[4];
#pragma unroll
                for (int i = 0; i < 4; ++i) {
                    const float* sum = sums[h][n + i];
                    words[i] = pack_bf16(sum[j] / totals[j], sum[2 + j] / totals[j]);
                }
                *reinterpret_cast<uint4*>(out + R::value(n, g)) =
                    make_uint4(words[0], words[1], words[2], words[3]);
            }
        }
    }
}

#define PREFILL(name, Stored, dim, blocks)                                                 \
    extern "C" __global__ void __launch_bounds__(PREFILL_WARPS * 32, 2)                    \
        prefill_##name(const __grid_constant__ Prefill p) {                                \
        follow();                                                                          \
        prefill<Stored, dim, blocks>(p);                                                   \
    }
PREFILL(64, KvBf16, 64, 4)
PREFILL(128, KvBf16, 128, 4)
PREFILL(256, KvBf16, 256, 2)
PREFILL(64_fp8, KvFp8, 64, 4)
PREFILL(128_fp8, KvFp8, 128, 4)
PREFILL(256_fp8, KvFp8, 256, 2)
