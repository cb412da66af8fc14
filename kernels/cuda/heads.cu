// From the products of step 1 to queries, and to keys and values in their cache: norms of heads
// where a model has them, rotation, rounding to bf16. A warp for each head of each row.
//
// The cache holds bf16, `[block][kv head][16 positions][head_dim]` for each of keys and values of a
// layer: what attention reads of one head and block is 16 * head_dim contiguous values.
#include "machine.cuh"

constexpr int HEAD_WARPS = 8;
constexpr uint32_t BLOCK_POSITIONS = 16;
constexpr uint32_t NO_SLOT = 0xFFFFFFFF;

struct Heads {
    const float* products;     // [rows][(heads + 2 * kv_heads) * head_dim]
    const float* q_norm;       // null, or [head_dim]
    const float* k_norm;       // null, or [head_dim]
    const float2* rotations;   // [positions][head_dim / 2], cosine and sine
    const uint32_t* positions; // [rows]
    const uint32_t* slots;     // [rows]; NO_SLOT: a row that only fills up the batch
    uint16_t* queries;         // bf16 [rows][heads][head_dim]
    uint16_t* keys;            // the layer's
    uint16_t* values;
    uint32_t rows, heads, kv_heads, head_dim;
    uint32_t is_adjacent;      // pairs are (2i, 2i + 1), else (i, i + head_dim / 2)
    float eps;
};

// Pairs in a lane, of heads of up to 256 values.
constexpr uint32_t MAX_PAIRS = 4;

extern "C" __global__ void __launch_bounds__(HEAD_WARPS * 32)
    project_heads(const __grid_constant__ Heads p) {
    uint32_t warp = blockIdx.x * HEAD_WARPS + threadIdx.x / 32, lane = threadIdx.x % 32;
    uint32_t all_heads = p.heads + 2 * p.kv_heads, pairs = p.head_dim / 2;
    uint32_t row = warp / all_heads, head = warp % all_heads;
    // Whole warps leave, so shuffles below have all their lanes.
    if (row >= p.rows) return;
    bool is_query = head < p.heads, is_key = !is_query && head < p.heads + p.kv_heads;
    uint32_t slot = p.slots[row];
    const float* from = p.products + (size_t{row} * all_heads + head) * p.head_dim;
    float2 x[MAX_PAIRS];
    float squares = 0.0f;
#pragma unroll
    for (uint32_t i = 0; i < MAX_PAIRS; ++i) {
        uint32_t pair = lane + 32 * i;
        x[i] = make_float2(0.0f, 0.0f);
        if (pair >= pairs) continue;
        x[i].x = from[p.is_adjacent ? 2 * pair : pair];
        x[i].y = from[p.is_adjacent ? 2 * pair + 1 : pair + pairs];
        squares = fmaf(x[i].x, x[i].x, fmaf(x[i].y, x[i].y, squares));
    }
    const float* norm = is_query ? p.q_norm : is_key ? p.k_norm : nullptr;
    float scale = 1.0f;
    if (norm) scale = rsqrtf(warp_sum(squares) / static_cast<float>(p.head_dim) + p.eps);
    uint16_t* to;
    if (is_query) {
        to = p.queries + (size_t{row} * p.heads + head) * p.head_dim;
    } else {
        if (slot == NO_SLOT) return;
        uint32_t kv_head = head - p.heads - (is_key ? 0 : p.kv_heads);
        size_t tile = size_t{slot / BLOCK_POSITIONS} * p.kv_heads + kv_head;
        size_t at = (tile * BLOCK_POSITIONS + slot % BLOCK_POSITIONS) * p.head_dim;
        to = (is_key ? p.keys : p.values) + at;
    }
    const float2* turns = p.rotations + size_t{p.positions[row]} * pairs;
#pragma unroll
    for (uint32_t i = 0; i < MAX_PAIRS; ++i) {
        uint32_t pair = lane + 32 * i;
        if (pair >= pairs) continue;
        uint32_t first = p.is_adjacent ? 2 * pair : pair;
        uint32_t second = p.is_adjacent ? 2 * pair + 1 : pair + pairs;
        float a = x[i].x, b = x[i].y;
        if (norm) a *= scale * norm[first], b *= scale * norm[second];
        if (is_query || is_key) {
            float2 turn = turns[pair];
            float turned = a * turn.x - b * turn.y;
            b = a * turn.y + b * turn.x;
            a = turned;
        }
        to[first] = f32_to_bf16(a);
        to[second] = f32_to_bf16(b);
    }
}
