// Attention of single rows over the paged cache, for decoding: each row reads its own sequence, up
// to and with its own position.
//
// The work is cut into items of 256 positions of one row and all query heads of one kv head, which
// the host lists (it knows all lengths) and a fixed number of blocks walks through. Chunks begin at
// multiples of 256 and are merged in their order by the block that finishes a row's last one, so a
// result does not depend on the batch or the grid. (Split-K as in Flash-Decoding, arXiv
// 2311.01282.)
//
// A warp has 64 positions of an item, in blocks of 16. Both products go to the tensor cores, and
// their fragments are chosen so that nothing moves between lanes: with heads as rows of the first,
// its result is laid out as the second wants its right side.
//   scores[head, position] = Q [16 heads, dim] * K^T: a lane reads 16 bytes of the keys of
//       positions g and g + 8; heads are 8 at most, so rows 8 to 15 of Q are zero.
//   out^T[dim, head] = V^T [16 values, 16 positions] * P^T: a lane reads 16 bytes of the values of
//       positions 2t, 2t+1, 2t+8, 2t+9, and pairs them up by bytes: rows g and g + 8 of a product
//       are neighbours among the lane's values.
#include "attention.cuh"

constexpr uint32_t ATTENTION_WARPS = 4;
constexpr uint32_t CHUNK_POSITIONS = 256;
constexpr uint32_t WARP_BLOCKS = CHUNK_POSITIONS / ATTENTION_WARPS / KV_BLOCK;
constexpr uint32_t MAX_GROUP = 8;  // query heads of a kv head

// One row's one chunk.
struct AttentionItem {
    uint32_t row;
    uint32_t chunk;        // positions from 256 * chunk on
    uint32_t first_chunk;  // the row's
    uint32_t chunks;       // the row has; its items lie side by side, in order
};

struct Attention {
    const uint16_t* queries;       // bf16 [rows][heads][dim]
    const uint8_t* keys;           // the layer's, [block][kv head][16][dim]
    const uint8_t* values;
    const uint8_t* key_exponents;  // null if they are bf16
    const uint8_t* value_exponents;
    const AttentionItem* items;
    const uint32_t* num_items;     // one number
    const uint32_t* positions;     // [rows]
    const uint32_t* table_starts;  // [rows]: where in `block_tables` a row's begins
    const uint32_t* block_tables;
    float* partial_stats;          // [items][kv heads][2][MAX_GROUP]: highest score, sum of weights
    float* partial_sums;           // [items][kv heads][MAX_GROUP][dim]
    uint32_t* finished;            // [rows][kv heads], all 0 before and after
    uint16_t* out;                 // bf16 [rows][out_stride]
    uint32_t heads, kv_heads, out_stride;
    uint32_t window;               // 0: none
    float scale, softcap;          // softcap 0: none
};

template <int DIM>
struct AttentionShared {
    float highest[ATTENTION_WARPS][MAX_GROUP];
    float weight[ATTENTION_WARPS][MAX_GROUP];
    float sums[ATTENTION_WARPS][MAX_GROUP][DIM];
    uint32_t is_last;
};

// Merges `count` partial results, in their order, and writes the row's heads.
template <int DIM>
DEVICE void merge(const Attention& p, size_t first, uint32_t count, uint32_t row,
                  uint32_t kv_head) {
    uint32_t group = p.heads / p.kv_heads;
    for (uint32_t at = threadIdx.x; at < group * DIM; at += ATTENTION_WARPS * 32) {
        uint32_t head = at / DIM, d = at % DIM;
        float highest = NOTHING, weight = 0.0f, sum = 0.0f;
        for (uint32_t i = 0; i < count; ++i) {
            size_t part = (first + i) * p.kv_heads + kv_head;
            const float* stats = p.partial_stats + part * 2 * MAX_GROUP + head;
            highest = fmaxf(highest, load_shared_result(stats));
        }
        for (uint32_t i = 0; i < count; ++i) {
            size_t part = (first + i) * p.kv_heads + kv_head;
            const float* stats = p.partial_stats + part * 2 * MAX_GROUP + head;
            float factor = weight_at(load_shared_result(stats), highest);
            weight = fmaf(factor, load_shared_result(stats + MAX_GROUP), weight);
            const float* sums = p.partial_sums + (part * MAX_GROUP + head) * DIM + d;
            sum = fmaf(factor, load_shared_result(sums), sum);
        }
        uint16_t* out = p.out + size_t{row} * p.out_stride + kv_head * group * DIM;
        out[at] = f32_to_bf16(sum / weight);
    }
}

template <class Stored, int DIM>
DEVICE void attend(const Attention& p, const AttentionItem& item, size_t item_index,
                   uint32_t kv_head, AttentionShared<DIM>& shared) {
    using R = Reads<Stored, DIM>;
    uint32_t warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
    uint32_t group = p.heads / p.kv_heads;
    uint32_t last = p.positions[item.row];
    uint32_t from = p.window != 0 && last >= p.window ? last - p.window + 1 : 0;
    uint32_t start = item.chunk * CHUNK_POSITIONS + warp * (WARP_BLOCKS * KV_BLOCK);
    const uint32_t* table = p.block_tables + p.table_starts[item.row];

    // Queries, as the left side: head g, values as those of the keys that the lane reads.
    uint4 query[DIM / 32];
#pragma unroll
    for (int i = 0; i < DIM / 32; ++i) {
        const uint16_t* row = p.queries + (size_t{item.row} * p.heads + kv_head * group + g) * DIM;
        query[i] = g < group ? read16(row + R::query(i, t)) : zeros();
    }
    // Where the warp's blocks lie; one that has nothing to read is not looked up.
    uint32_t tiles[WARP_BLOCKS];
    bool is_read[WARP_BLOCKS];
    float scores[WARP_BLOCKS][4];  // of head g: positions 2t, 2t+1, 2t+8, 2t+9
    float highest = NOTHING;
#pragma unroll
    for (uint32_t b = 0; b < WARP_BLOCKS; ++b) {
        uint32_t first = start + b * KV_BLOCK;
        is_read[b] = first <= last && first + KV_BLOCK > from;
        tiles[b] = (is_read[b] ? table[first / KV_BLOCK] : 0) * p.kv_heads + kv_head;
        float low[4] = {0, 0, 0, 0}, high[4] = {0, 0, 0, 0};
        if (is_read[b]) {
            const uint8_t* keys = R::tile(p.keys, tiles[b]) + R::ROW_BYTES * g + 16 * t;
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
                    const uint4& q = query[c * (R::KEY_VALUES / 8) + i];
                    const uint32_t *a = pairs0 + 4 * i, *b = pairs1 + 4 * i;
                    mma(low, q.x, 0, q.y, 0, a[0], a[1]);
                    mma(low, q.z, 0, q.w, 0, a[2], a[3]);
                    mma(high, q.x, 0, q.y, 0, b[0], b[1]);
                    mma(high, q.z, 0, q.w, 0, b[2], b[3]);
                }
            }
            if (Stored::HAS_EXPONENTS) {
                multiply_products(read_exponents(p.key_exponents, tiles[b], t), low, high);
            }
        }
#pragma unroll
        for (uint32_t i = 0; i < 4; ++i) {
            uint32_t position = first + 2 * t + i % 2 + i / 2 * 8;
            float score = (i < 2 ? low[i] : high[i - 2]) * p.scale;
            if (p.softcap != 0.0f) score = p.softcap * tanhf(score / p.softcap);
            bool is_seen = position <= last && position >= from;
            scores[b][i] = is_seen ? score : 2.0f * NOTHING;
            highest = fmaxf(highest, scores[b][i]);
        }
    }
    // The four lanes of a head.
    highest = fmaxf(highest, __shfl_xor_sync(0xFFFFFFFFu, highest, 1));
    highest = fmaxf(highest, __shfl_xor_sync(0xFFFFFFFFu, highest, 2));

    float weight = 0.0f;
    // [i]: values R::value(i, g) and the next; heads 2t and the next.
    float sums[R::PRODUCTS][4] = {};
#pragma unroll
    for (uint32_t b = 0; b < WARP_BLOCKS; ++b) {
        uint32_t first = start + b * KV_BLOCK;
        uint32_t w[2];
#pragma unroll
        for (uint32_t i = 0; i < 2; ++i) {
            w[i] = pack_bf16(weight_at(scores[b][2 * i], highest),
                             weight_at(scores[b][2 * i + 1], highest));
            // What is divided by later is the sum of what is multiplied with here: of rounded
            // weights.
            weight += bf16_to_f32(w[i] & 0xFFFF) + bf16_to_f32(w[i] >> 16);
        }
        if (!is_read[b]) continue;
        if (Stored::HAS_EXPONENTS) {
            uint32_t exponents = read_exponents(p.value_exponents, tiles[b], t);
            multiply_weights(exponents, first, t, last, w);
        }
        const uint8_t* values = R::tile(p.values, tiles[b]) + R::VALUE_BYTES * g;
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
                    float* sum = sums[s * R::LOAD_PRODUCTS + n * R::WORD_PRODUCTS + i];
                    mma(sum, a[i][0], a[i][1], a[i][2], a[i][3], w[0], w[1]);
                }
            }
        }
    }
    weight += __shfl_xor_sync(0xFFFFFFFFu, weight, 1);
    weight += __shfl_xor_sync(0xFFFFFFFFu, weight, 2);

    __syncthreads();  // The last item's readers.
    if (t == 0) {
        shared.highest[warp][g] = highest;
        shared.weight[warp][g] = weight;
    }
#pragma unroll
    for (int i = 0; i < R::PRODUCTS; ++i) {
#pragma unroll
        for (int j = 0; j < 4; ++j) {
            shared.sums[warp][2 * t + j % 2][R::value(i, g) + j / 2] = sums[i][j];
        }
    }
    __syncthreads();

    // The four warps' parts, in their order, to one partial result.
    size_t part = item_index * p.kv_heads + kv_head;
    for (uint32_t at = threadIdx.x; at < group * DIM; at += ATTENTION_WARPS * 32) {
        uint32_t head = at / DIM, d = at % DIM;
        float top = NOTHING, total = 0.0f, sum = 0.0f;
        for (uint32_t w = 0; w < ATTENTION_WARPS; ++w) top = fmaxf(top, shared.highest[w][head]);
        for (uint32_t w = 0; w < ATTENTION_WARPS; ++w) {
            float factor = weight_at(shared.highest[w][head], top);
            total = fmaf(factor, shared.weight[w][head], total);
            sum = fmaf(factor, shared.sums[w][head][d], sum);
        }
        if (item.chunks == 1) {
            uint16_t* out = p.out + size_t{item.row} * p.out_stride + kv_head * group * DIM;
            out[at] = f32_to_bf16(sum / total);
            continue;
        }
        p.partial_sums[(part * MAX_GROUP + head) * DIM + d] = sum;
        if (d == 0) {
            p.partial_stats[part * 2 * MAX_GROUP + head] = top;
            p.partial_stats[part * 2 * MAX_GROUP + MAX_GROUP + head] = total;
        }
    }
    if (item.chunks == 1) return;
    __threadfence();
    __syncthreads();
    uint32_t* finished = p.finished + size_t{item.row} * p.kv_heads + kv_head;
    if (threadIdx.x == 0) {
        shared.is_last = atomicAdd(finished, 1) + 1 == item.chunks;
        if (shared.is_last) *finished = 0;  // For the next layer.
    }
    __syncthreads();
    if (!shared.is_last) return;
    __threadfence();
    size_t first = item_index - (item.chunk - item.first_chunk);
    merge<DIM>(p, first, item.chunks, item.row, kv_head);
}

template <class Stored, int DIM>
DEVICE void walk(const Attention& p) {
    __shared__ AttentionShared<DIM> shared;
    uint32_t count = *p.num_items * p.kv_heads;
    for (uint32_t i = blockIdx.x; i < count; i += gridDim.x) {
        // The heads of an item follow each other: they are of the same blocks.
        size_t index = i / p.kv_heads;
        attend<Stored, DIM>(p, p.items[index], index, i % p.kv_heads, shared);
    }
}

#define ATTENTION(name, Stored, dim)                                                       \
    extern "C" __global__ void __launch_bounds__(ATTENTION_WARPS * 32, 2)                  \
        attention_##name(const __grid_constant__ Attention p) {                            \
        follow();                                                                          \
        walk<Stored, dim>(p);                                                              \
    }
ATTENTION(64, KvBf16, 64)
ATTENTION(128, KvBf16, 128)
ATTENTION(256, KvBf16, 256)
ATTENTION(64_fp8, KvFp8, 64)
ATTENTION(128_fp8, KvFp8, 128)
ATTENTION(256_fp8, KvFp8, 256)
