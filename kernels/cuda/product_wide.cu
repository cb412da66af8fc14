// The products of a step, for many rows of activations: prompts and large batches. The same bits as
// those of `product.cu`, by the same order of additions.
//
// What bounds these is multiplying, once each weight and activation that is read is multiplied often
// enough. So a block takes 64 tokens and, in each of its eight warps, one or two tiles of rows. Each
// weight goes from memory straight to the registers of the one warp that needs it, where it becomes
// bf16 once for all 64 tokens; those of the step after are on their way meanwhile. The activations
// go to shared memory, 64 columns at a time and two such steps ahead, and are read there by all
// warps: a warp of two tiles needs one read of 16 bytes for four `mma`, which is what the tensor
// cores can keep up with, and half of what one of one tile needs.
//
// A warp here does all parts of the columns one after the other, so it keeps two sums for each
// output: the part's, and that of the parts before.
//
// Blocks of the same rows and other tokens follow each other in the grid: they read the weights
// from L2 when one of them has read them from memory.
#include "product.cuh"

constexpr uint32_t WIDE = 64;           // tokens of a block
constexpr int EIGHTS = WIDE / 8;        // columns of an `mma`
constexpr uint32_t STEP_CHUNKS = STEP / CHUNK;
constexpr uint32_t UNITS = STEP / 8;    // of 16 bytes, in a step of a token
constexpr uint32_t STAGES = 4;          // steps in shared memory
constexpr uint32_t MAX_KEPT = 12;       // sums of a lane in shared memory

struct Stages {
    // Where a unit is in its row differs from row to row (`swizzle`). In the end each warp's sums
    // are here, one tile at a time.
    uint4 x[STAGES][WIDE * UNITS];
    // Sums of each chunk's activations, of this step and of the next.
    float totals[2][STEP_CHUNKS][WIDE];
    float scales[WIDE];
    // What a thread needs too seldom for a register: where the activations are that it copies, and
    // some of its sums of the parts before.
    uint32_t from[2][WARPS * 32];
    float kept[MAX_KEPT][WARPS * 32];
};
static_assert(STAGES * WIDE * UNITS == WARPS * EIGHTS * 32, "room for a tile's sums of each warp");

// Shared memory is read 128 bytes at a time: either 16 bytes of each lane, for two tokens, or 8
// bytes, for four (`IS_SPLIT`). Exclusive or with this puts them into different banks.
DEVICE uint32_t swizzle(uint32_t token) { return token % 2 * 4 | token / 2 % 2 * 2; }

// The group after this one, or the number of groups: part after part.
DEVICE uint32_t group_after(uint32_t group, uint32_t groups) {
    if (group % 2 == 0 && group + 1 < groups) return group + 1;
    uint32_t span = group / 2;
    if (2 * (span + PARTS) < groups) return 2 * (span + PARTS);
    uint32_t part = span % PARTS + 1;
    return part < PARTS && 2 * part < groups ? 2 * part : groups;
}

DEVICE bool is_same_part(uint32_t group, uint32_t other) {
    return group / 2 % PARTS == other / 2 % PARTS;
}

// The two units of each step that a thread copies: one of token threadIdx.x / 8 of the block, and
// of the 32nd after it.
DEVICE void find_activations(const Product& p, Stages& stages, uint32_t first_token) {
#pragma unroll
    for (uint32_t i = 0; i < 2; ++i) {
        uint32_t token = first_token + threadIdx.x / UNITS + i * (WIDE / 2);
        uint32_t row = token >= p.tokens ? 0 : p.x_rows ? p.x_rows[token] : token;
        stages.from[i][threadIdx.x] = row * p.x_stride + threadIdx.x % UNITS * 8;
    }
}

// Begins to copy a step of a group; there is none after the last group.
DEVICE void copy_step(const Product& p, Stages& stages, uint32_t stage, uint32_t group,
                      uint32_t half) {
    if (group < p.groups) {
        uint32_t token = threadIdx.x / UNITS, unit = threadIdx.x % UNITS ^ swizzle(token);
        uint32_t column = group * GROUP + half * STEP;
#pragma unroll
        for (uint32_t i = 0; i < 2; ++i) {
            uint4* to = &stages.x[stage][(token + i * (WIDE / 2)) * UNITS + unit];
            bool is_there = blockIdx.x * WIDE + token + i * (WIDE / 2) < p.tokens;
            copy_async16(to, p.x + (stages.from[i][threadIdx.x] + column), is_there);
        }
    }
    end_copies();
}
static_assert(WARPS * 32 * 2 == WIDE * UNITS, "two units a thread");

// The lane's B fragments of chunk c of a step, for tokens 8n to 8n+7.
template <class F>
DEVICE uint4 read_x(const uint4* stage, uint32_t c, uint32_t n, uint32_t lane) {
    uint32_t g = lane / 4, t = lane % 4;
    const uint4* row = stage + (n * 8 + g) * UNITS;
    if constexpr (F::IS_SPLIT) {
        uint32_t unit = 4 * c + t / 2;
        const uint2* a = reinterpret_cast<const uint2*>(row + (unit ^ swizzle(g))) + t % 2;
        const uint2* b = reinterpret_cast<const uint2*>(row + (unit + 2 ^ swizzle(g))) + t % 2;
        return make_uint4(a->x, a->y, b->x, b->y);
    } else {
        return row[4 * c + t ^ swizzle(g)];
    }
}

// `totals` of a step. Each warp does eight tokens.
template <class F>
DEVICE void add_up_step(Stages& stages, uint32_t step) {
    uint32_t n = threadIdx.x / 32, lane = threadIdx.x % 32;
#pragma unroll
    for (uint32_t c = 0; c < STEP_CHUNKS; ++c) {
        float total[4];
        add_up(read_x<F>(stages.x[step % STAGES], c, n, lane), total);
        float* to = &stages.totals[step % 2][c][n * 8 + lane * 2];
        if (lane < 4) to[0] = total[0], to[1] = total[1];
    }
}
static_assert(WARPS == EIGHTS, "eight tokens for each warp");

template <class F, int TILES>
DEVICE void multiply_chunk(const F f[TILES], uint32_t c, const Stages& stages, uint32_t step,
                           uint32_t lane, float sums[TILES][EIGHTS][4]) {
    uint32_t in_step = c % STEP_CHUNKS;
    Weights weights[TILES];
#pragma unroll
    for (int m = 0; m < TILES; ++m) weights[m] = take_chunk(f[m], c);
#pragma unroll
    for (int n = 0; n < EIGHTS; ++n) {
        uint4 x = read_x<F>(stages.x[step % STAGES], in_step, n, lane);
        float total[2] = {0.0f, 0.0f};
        if constexpr (F::HAS_MINIMA) {
            const float* from = &stages.totals[step % 2][in_step][n * 8 + lane % 4 * 2];
            float2 both = *reinterpret_cast<const float2*>(from);
            total[0] = both.x, total[1] = both.y;
        }
#pragma unroll
        for (int m = 0; m < TILES; ++m) add_chunk<F>(weights[m], x, total, sums[m][n]);
    }
}

// The ending of a tile's outputs, `sums` in the layout of `mma`. `room` is the lane's own, so there
// is nothing to wait for: it is there to have one copy of this code, not one for each register.
DEVICE void conclude_tile(const Product& p, uint32_t tile, uint32_t first_token, uint32_t lane,
                          const float sums[EIGHTS][4], const float* scales, uint4* room) {
#pragma unroll
    for (int n = 0; n < EIGHTS; ++n) {
        const float* s = sums[n];
        room[n * 32] = make_uint4(__float_as_uint(s[0]), __float_as_uint(s[1]),
                                  __float_as_uint(s[2]), __float_as_uint(s[3]));
    }
#pragma unroll 1
    for (uint32_t n = 0; n < EIGHTS; n += 2) {
        // Four at once, so that their reads do not wait for each other.
        Spot at[4];
        float hidden[4][2];
#pragma unroll
        for (uint32_t i = 0; i < 4; ++i) {
            uint32_t in_block = (n + i / 2) * 8 + lane % 4 * 2 + i % 2;
            at[i] = {tile, first_token + in_block, lane / 4};
            read_hidden(p, at[i], hidden[i]);
        }
#pragma unroll
        for (uint32_t i = 0; i < 4; ++i) {
            uint4 s = room[(n + i / 2) * 32];
            float upper = __uint_as_float(i % 2 ? s.y : s.x);
            float lower = __uint_as_float(i % 2 ? s.w : s.z);
            conclude(p, at[i], hidden[i], upper, lower, scales[at[i].token - first_token]);
        }
    }
}

// `KEPT`: sums in shared memory, so many that ptxas finds registers for all else.
template <class F, int TILES, uint32_t KEPT>
DEVICE void product_wide(const Product& p) {
    __shared__ __align__(128) Stages stages;
    uint32_t warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    uint32_t first_token = blockIdx.x * WIDE, all_tiles = num_tiles(p);
    uint32_t first_tile = (blockIdx.y * WARPS + warp) * TILES, tiles[TILES];
    // Warps beyond the last tile copy activations for the others.
    bool has_tiles = first_tile < all_tiles;
#pragma unroll
    for (int m = 0; m < TILES; ++m) {
        tiles[m] = first_tile + m < all_tiles ? first_tile + m : all_tiles - 1;
    }

    let_next_begin();
    F weights[TILES];
    if (has_tiles) {
#pragma unroll
        for (int m = 0; m < TILES; ++m) {
            load_group(weights[m], p.weights, Place::at(tiles[m], 0, p.groups), lane);
        }
    }
    wait_for_previous();
    find_activations(p, stages, first_token);
    uint32_t group = 0, ahead = group_after(0, p.groups);
    copy_step(p, stages, 0, 0, 0);
    copy_step(p, stages, 1, 0, 1);
    copy_step(p, stages, 2, ahead, 0);
    find_scales(p, first_token, WIDE, stages.scales);
    if constexpr (F::HAS_MINIMA) {
        wait_for_copies<2>();
        __syncthreads();
        add_up_step<F>(stages, 0);
    }

    float outputs[TILES][EIGHTS][4] = {}, sums[TILES][EIGHTS][4] = {};
    constexpr uint32_t in_registers = EIGHTS * 4 - KEPT;  // of the last tile
#pragma unroll
    for (uint32_t i = 0; i < KEPT; ++i) stages.kept[i][threadIdx.x] = 0.0f;
    for (uint32_t step = 0; group < p.groups;) {
        uint32_t after = group_after(group, p.groups);
#pragma unroll
        for (uint32_t half = 0; half < STEPS; ++half, ++step) {
            // This step's copies, and where they are added up, the next step's.
            wait_for_copies<F::HAS_MINIMA ? 1 : 2>();
            // And the stage of the step before is free.
            __syncthreads();
            if (half == 1 && ahead < p.groups) ahead = group_after(ahead, p.groups);
            copy_step(p, stages, (step + 3) % STAGES, ahead, 1 - half);
            if (F::HAS_MINIMA) add_up_step<F>(stages, step + 1);
            if (!has_tiles) continue;
#pragma unroll
            for (int m = 0; m < TILES; ++m) F::settle_step(weights[m], group, half);
#pragma unroll
            for (uint32_t i = 0; i < STEP_CHUNKS; ++i) {
                uint32_t c = half * STEP_CHUNKS + i;
                multiply_chunk<F, TILES>(weights, c, stages, step, lane, sums);
            }
            // There are not the registers for two groups: the next weights take the place of those
            // just used.
            if (after == p.groups) continue;
#pragma unroll
            for (int m = 0; m < TILES; ++m) {
                Place place = Place::at(tiles[m], after, p.groups);
                F::load_step(weights[m], p.weights, place, lane, half);
            }
        }
        if (!is_same_part(group, after) || after == p.groups) {
#pragma unroll
            for (int m = 0; m < TILES; ++m) {
#pragma unroll
                for (int i = 0; i < EIGHTS * 4; ++i) {
                    if (m == 1 && i >= in_registers) {
                        stages.kept[i - in_registers][threadIdx.x] += sums[m][i / 4][i % 4];
                    } else {
                        outputs[m][i / 4][i % 4] += sums[m][i / 4][i % 4];
                    }
                    sums[m][i / 4][i % 4] = 0.0f;
                }
            }
        }
        group = after;
    }

    if (TILES == 2) {
#pragma unroll
        for (uint32_t i = in_registers; i < EIGHTS * 4; ++i) {
            outputs[TILES - 1][i / 4][i % 4] = stages.kept[i - in_registers][threadIdx.x];
        }
    }
    __syncthreads();  // Whoever still reads the last step's activations.
#pragma unroll
    for (int m = 0; m < TILES; ++m) {
        if (first_tile + m >= all_tiles) break;
        uint4* room = &stages.x[0][0] + warp * (EIGHTS * 32) + lane;
        conclude_tile(p, tiles[m], first_token, lane, outputs[m], stages.scales, room);
    }
}

// Names that the host looks up: product_<type>_<rows of a block>x<tokens>.
#define PRODUCT_WIDE(name, format, kept)                                                   \
    extern "C" __global__ void __launch_bounds__(WARPS * 32, 1)                            \
        product_##name##_128x64(const __grid_constant__ Product p) {                       \
        product_wide<format, 1, 0>(p);                                                     \
    }                                                                                      \
    extern "C" __global__ void __launch_bounds__(WARPS * 32, 1)                            \
        product_##name##_256x64(const __grid_constant__ Product p) {                       \
        product_wide<format, 2, kept>(p);                                                  \
    }
PRODUCT_WIDE(bf16, Bf16, 8)
PRODUCT_WIDE(q4_0, Q4_0, 12)
PRODUCT_WIDE(q4_1, Q4_1, 8)
PRODUCT_WIDE(q5_0, Q5_0, 8)
PRODUCT_WIDE(q5_1, Q5_1, 8)
PRODUCT_WIDE(q8_0, Q8_0, 4)
PRODUCT_WIDE(q4_k, Q4_K, 8)
PRODUCT_WIDE(q5_k, Q5_K, 8)
PRODUCT_WIDE(q6_k, Q6_K, 8)
