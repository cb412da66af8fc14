// From the products of step 1 to queries, and to keys and values in their cache: norms of heads
// where a model has them, rotation, rounding. A warp for each head of each row.
#include "cache.cuh"

constexpr int HEAD_WARPS = 8;
constexpr uint32_t NO_SLOT = 0xFFFFFFFF;

struct Heads {
    const float* products;     // [rows][(heads + 2 * kv_heads) * head_dim]
    const float* q_norm;       // null, or [head_dim]
    const float* k_norm;       // null, or [head_dim]
    const float2* rotations;   // [positions][head_dim / 2], cosine and sine
    const uint32_t* positions; // [rows]
    const uint32_t* slots;     // [rows]; NO_SLOT: a row that only fills up the batch
    uint16_t* queries;         // bf16 [rows][heads][head_dim]
    uint8_t* keys;             // the layer's
    uint8_t* values;
    uint8_t* key_exponents;    // null if they are bf16
    uint8_t* value_exponents;
    uint32_t rows, heads, kv_heads, head_dim;
    uint32_t is_adjacent;      // pairs are (2i, 2i + 1), else (i, i + head_dim / 2)
    float eps;
};

// Pairs in a lane, of heads of up to 256 values.
constexpr uint32_t MAX_PAIRS = 4;

// Values of a head in a warp's lanes to bytes. Values beyond a lane's pairs are 0.
DEVICE void store_fp8(const float2 x[MAX_PAIRS], const Heads& p, uint8_t* to,
                      uint8_t* exponent_at) {
    uint32_t lane = threadIdx.x % 32, pairs = p.head_dim / 2, largest = 0;
#pragma unroll
    for (uint32_t i = 0; i < MAX_PAIRS; ++i) {
        // As numbers, so that NaN is the largest.
        uint32_t a = __float_as_uint(x[i].x) & 0x7FFFFFFF, b = __float_as_uint(x[i].y) & 0x7FFFFFFF;
        uint32_t larger = a > b ? a : b;
        if (larger > largest) largest = larger;
    }
    uint32_t exponent = exponent_for(__reduce_max_sync(0xFFFFFFFFu, largest));
    if (lane == 0) *exponent_at = static_cast<uint8_t>(exponent);
    // If not all are numbers none is read as one: 0 times the infinite power of two is NaN.
    bool are_numbers = exponent != 255;
    float factor = are_numbers ? divided_by(exponent) : 0.0f;
#pragma unroll
    for (uint32_t i = 0; i < MAX_PAIRS; ++i) {
        uint32_t pair = lane + 32 * i;
        if (pair >= pairs) continue;
        uint32_t first = p.is_adjacent ? 2 * pair : pair;
        uint32_t second = p.is_adjacent ? 2 * pair + 1 : pair + pairs;
        to[KvFp8::place(first)] = are_numbers ? f32_to_e3m4(x[i].x * factor) : 0;
        to[KvFp8::place(second)] = are_numbers ? f32_to_e3m4(x[i].y * factor) : 0;
    }
}

template <class Stored>
DEVICE void project(const Heads& p) {
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
    if (!is_query && slot == NO_SLOT) return;
    // Of a key or value: the position among all of the cache, head by head.
    uint32_t kv_head = is_query ? 0 : head - p.heads - (is_key ? 0 : p.kv_heads);
    size_t tile = size_t{slot / KV_BLOCK} * p.kv_heads + kv_head;
    size_t place = tile * KV_BLOCK + slot % KV_BLOCK;
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
        x[i] = make_float2(a, b);
    }
    uint8_t* stored = is_key ? p.keys : p.values;
    if (Stored::HAS_EXPONENTS && !is_query) {
        uint8_t* exponents = is_key ? p.key_exponents : p.value_exponents;
        return store_fp8(x, p, stored + place * p.head_dim, exponents + place);
    }
    uint16_t* to = is_query ? p.queries + (size_t{row} * p.heads + head) * p.head_dim
                            : reinterpret_cast<uint16_t*>(stored) + place * p.head_dim;
#pragma unroll
    for (uint32_t i = 0; i < MAX_PAIRS; ++i) {
        uint32_t pair = lane + 32 * i;
        if (pair >= pairs) continue;
        to[p.is_adjacent ? 2 * pair : pair] = f32_to_bf16(x[i].x);
        to[p.is_adjacent ? 2 * pair + 1 : pair + pairs] = f32_to_bf16(x[i].y);
    }
}

extern "C" __global__ void __launch_bounds__(HEAD_WARPS * 32)
    project_heads(const __grid_constant__ Heads p) {
    follow();
    project<KvBf16>(p);
}

extern "C" __global__ void __launch_bounds__(HEAD_WARPS * 32)
    project_heads_fp8(const __grid_constant__ Heads p) {
    follow();
    project<KvFp8>(p);
}
