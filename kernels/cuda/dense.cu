// The products of long runs of tokens, of prompts: NVIDIA's library multiplies, dense matrices of
// bf16 with sums in f32. What is around it is here: making such a matrix of a quantized one, and
// what becomes of the sums.
//
// A sum has its own order of additions there, so other last bits than in `product.cu`; and weights
// of quantized formats are rounded to bf16 with their scales.
#include "product.cuh"

constexpr uint32_t EXPAND_WARPS = 8;

// Whole tiles of a packed matrix as rows of bf16: `[tiles * TILE][groups * GROUP]`.
struct Expand {
    Planes matrix;
    uint16_t* out;
    uint32_t first_tile, groups;
};

DEVICE uint32_t scale_pair(uint32_t codes, float d, float m) {
    float low = __uint_as_float(codes << 16), high = __uint_as_float(codes & 0xFFFF0000);
    return pack_bf16(fmaf(d, low, m), fmaf(d, high, m));
}

// A warp for each group of a tile.
template <class F>
DEVICE void expand(const Expand& p) {
    uint32_t group = blockIdx.y * EXPAND_WARPS + threadIdx.x / 32, lane = threadIdx.x % 32;
    if (group >= p.groups) return;
    F f = {};
    load_group(f, p.matrix, Place::at(p.first_tile + blockIdx.x, group, p.groups), lane);
    settle_group(f, group);
    size_t stride = size_t{p.groups} * GROUP;
    uint16_t* rows = p.out + (size_t{blockIdx.x} * TILE + lane / 4) * stride + group * GROUP;
#pragma unroll
    for (uint32_t c = 0; c < CHUNKS; ++c) {
        Weights weights = take_chunk(f, c);
#pragma unroll
        for (uint32_t half = 0; half < 2; ++half) {
            const uint32_t(&w)[4] = weights.w[half];
            Affine affine = weights.affine[half];
            uint16_t* to = rows + 8 * half * stride + c * CHUNK;
            if constexpr (F::IS_SPLIT) {
                uint2* first = reinterpret_cast<uint2*>(to + lane % 4 * 4);
                uint2* second = reinterpret_cast<uint2*>(to + 16 + lane % 4 * 4);
                // Two scales, and no minimum.
                *first = make_uint2(scale_pair(w[0], affine.d, 0.0f),
                                    scale_pair(w[1], affine.d, 0.0f));
                *second = make_uint2(scale_pair(w[2], affine.m, 0.0f),
                                     scale_pair(w[3], affine.m, 0.0f));
            } else {
                float m = F::HAS_MINIMA ? affine.m : 0.0f;
                *reinterpret_cast<uint4*>(to + lane % 4 * 8) =
                    make_uint4(scale_pair(w[0], affine.d, m), scale_pair(w[1], affine.d, m),
                               scale_pair(w[2], affine.d, m), scale_pair(w[3], affine.d, m));
            }
        }
    }
}

// Names that the host looks up: expand_<type>.
#define EXPAND(name, format)                                                               \
    extern "C" __global__ void __launch_bounds__(EXPAND_WARPS * 32)                        \
        expand_##name(const __grid_constant__ Expand p) {                                  \
        follow();                                                                          \
        expand<format>(p);                                                                 \
    }
EXPAND(q4_0, Q4_0)
EXPAND(q4_1, Q4_1)
EXPAND(q5_0, Q5_0)
EXPAND(q5_1, Q5_1)
EXPAND(q8_0, Q8_0)
EXPAND(q4_k, Q4_K)
EXPAND(q5_k, Q5_K)
EXPAND(q6_k, Q6_K)

// The ending of a product whose sums are in memory, those of some of its tiles.
struct Conclude {
    Product product;
    const float* sums;            // [tokens][stride]
    uint32_t first_tile, tiles;
    uint32_t stride, padding;
};

constexpr uint32_t CONCLUDED_TOKENS = 8;      // of a block
constexpr uint32_t CONCLUDED_TILES = 8 * WARPS;  // of a block

extern "C" __global__ void __launch_bounds__(WARPS * 32)
    conclude_sums(const __grid_constant__ Conclude p) {
    __shared__ float scales[CONCLUDED_TOKENS];
    follow();
    uint32_t warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4;
    uint32_t first_token = blockIdx.x * CONCLUDED_TOKENS;
    find_scales(p.product, first_token, CONCLUDED_TOKENS, scales);
    __syncthreads();
    for (uint32_t i = 0; i < CONCLUDED_TILES; i += WARPS) {
        uint32_t tile = blockIdx.y * CONCLUDED_TILES + i + warp;
        if (tile >= p.tiles) return;
#pragma unroll
        for (uint32_t odd = 0; odd < 2; ++odd) {
            uint32_t in_block = lane % 4 * 2 + odd;
            Spot at = {p.first_tile + tile, first_token + in_block, g};
            bool is_token = at.token < p.product.tokens;
            const float* sums = p.sums + size_t{at.token} * p.stride + tile * TILE + g;
            float upper = is_token ? sums[0] : 0.0f, lower = is_token ? sums[8] : 0.0f;
            float hidden[2];
            read_hidden(p.product, at, hidden);
            conclude(p.product, at, hidden, upper, lower, scales[in_block]);
        }
    }
}
