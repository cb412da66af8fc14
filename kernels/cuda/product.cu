// The products of a step, for few rows of activations: a matrix of weights with up to 32 at a time.
// For many there is `product_wide.cu`.
//
// What bounds a small batch is reading the weights, once, at the speed of memory. So a block of
// eight warps takes one tile of 16 rows, each warp one part of the columns, and while one group of
// 128 is multiplied the next is on its way: 8 loads of 16 bytes a lane in flight, times 512 threads
// on a multiprocessor. Multiplying is left to the tensor cores even for one row of activations
// (`mma`'s eight columns are then mostly zeros): they have the time, the other units have not,
// above four rows.
//
// Blocks of one tile and other rows of activations follow each other in the grid: they run at
// about the same time, so that a batch's products too should read memory about once, and the rest
// from L2.
//
// The order of additions within an output depends on its row and nothing else: not on how many rows
// of activations there are, which of them it is, or the grid. That is what makes results equal bit
// for bit in any batch.
#include "product.cuh"

static_assert(WARPS == PARTS, "a warp for each part");

// The lane's B fragments of one chunk: eight columns of token `g` of each eight.
template <class F, int NT>
DEVICE void load_x(const Product& p, const uint16_t* const rows[NT], uint32_t column, uint32_t t,
                   uint4 x[NT]) {
#pragma unroll
    for (int n = 0; n < NT; ++n) {
        x[n] = zeros();
        if (rows[n] == nullptr) continue;
        const uint16_t* from = rows[n] + column;
        if (F::IS_SPLIT) {
            uint2 a = *reinterpret_cast<const uint2*>(from + 4 * t);
            uint2 b = *reinterpret_cast<const uint2*>(from + 16 + 4 * t);
            x[n] = make_uint4(a.x, a.y, b.x, b.y);
        } else {
            x[n] = *reinterpret_cast<const uint4*>(from + 8 * t);
        }
    }
}

template <class F, int NT>
DEVICE void multiply(const F& f, const Product& p, const uint16_t* const rows[NT], uint32_t group,
                     uint32_t lane, float sums[NT][4]) {
#pragma unroll
    for (uint32_t c = 0; c < CHUNKS; ++c) {
        uint4 x[NT];
        load_x<F, NT>(p, rows, group * GROUP + c * CHUNK, lane % 4, x);
        Weights weights = take_chunk(f, c);
#pragma unroll
        for (int n = 0; n < NT; ++n) {
            float total[4] = {};
            if (F::HAS_MINIMA) add_up(x[n], total);
            add_chunk<F>(weights, x[n], total, sums[n]);
        }
    }
}

// What the warps of a block leave for its epilogue.
template <int NT>
struct Results {
    float sums[WARPS][NT][32][4];
    float scales[NT * 8];  // of each token: one over the root of its mean square
};

template <class F, int NT>
DEVICE void product(const Product& p) {
    __shared__ Results<NT> results;
    uint32_t warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    uint32_t first_token = blockIdx.x * NT * 8;
    let_next_begin();
    F now = {}, next = {};
    uint32_t group = 2 * warp;
    if (group < p.groups) load_group(now, p.weights, Place::at(blockIdx.y, group, p.groups), lane);
    wait_for_previous();
    const uint16_t* rows[NT];
#pragma unroll
    for (int n = 0; n < NT; ++n) {
        uint32_t token = first_token + n * 8 + lane / 4;
        bool is_token = token < p.tokens;
        uint32_t row = is_token && p.x_rows ? p.x_rows[token] : token;
        rows[n] = is_token ? p.x + size_t{row} * p.x_stride : nullptr;
    }
    float sums[NT][4] = {};
    find_scales(p, first_token, NT * 8, results.scales);
    while (group < p.groups) {
        // Both groups of a span, then the next span of the part.
        uint32_t after = group % 2 == 0 ? group + 1 : group + 2 * PARTS - 1;
        if (after < p.groups) {
            load_group(next, p.weights, Place::at(blockIdx.y, after, p.groups), lane);
        }
        settle_group(now, group);
        multiply<F, NT>(now, p, rows, group, lane, sums);
        now = next;
        group = after;
    }
#pragma unroll
    for (int n = 0; n < NT; ++n) {
#pragma unroll
        for (int i = 0; i < 4; ++i) results.sums[warp][n][lane][i] = sums[n][i];
    }
    __syncthreads();
    // One warp for each of mma's columns that a lane has.
    for (uint32_t unit = warp; unit < NT * 2; unit += WARPS) {
        uint32_t n = unit / 2, odd = unit % 2;
        float upper = 0.0f, lower = 0.0f;
        for (uint32_t w = 0; w < WARPS; ++w) {
            upper += results.sums[w][n][lane][odd];
            lower += results.sums[w][n][lane][2 + odd];
        }
        uint32_t in_block = n * 8 + lane % 4 * 2 + odd;
        Spot at = {blockIdx.y, first_token + in_block, lane / 4};
        float hidden[2];
        read_hidden(p, at, hidden);
        conclude(p, at, hidden, upper, lower, results.scales[in_block]);
    }
}

// Names that the host looks up: product_<type>_<tokens at a time>.
#define PRODUCT(name, format)                                                              \
    extern "C" __global__ void __launch_bounds__(WARPS * 32, 2)                            \
        product_##name##_8(const __grid_constant__ Product p) {                            \
        product<format, 1>(p);                                                             \
    }                                                                                      \
    extern "C" __global__ void __launch_bounds__(WARPS * 32, 1)                            \
        product_##name##_32(const __grid_constant__ Product p) {                           \
        product<format, 4>(p);                                                             \
    }
PRODUCT(bf16, Bf16)
PRODUCT(q4_0, Q4_0)
PRODUCT(q4_1, Q4_1)
PRODUCT(q5_0, Q5_0)
PRODUCT(q5_1, Q5_1)
PRODUCT(q8_0, Q8_0)
PRODUCT(q4_k, Q4_K)
PRODUCT(q5_k, Q5_K)
PRODUCT(q6_k, Q6_K)
