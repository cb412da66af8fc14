// What is done to a row of a step as a whole: taking its token, looking it up, adding a normalized
// output, the last norm. A block for each row of the hidden state.
//
// Each leaves what `product.cu` takes as input: the row times the weights of the norm that follows,
// in bf16, and the sum of its squares.
#include "formats.cuh"

constexpr int ROW_WARPS = 8;
constexpr int ROW_THREADS = ROW_WARPS * 32;

enum Type : uint32_t { BF16, Q4_0_, Q4_1_, Q5_0_, Q5_1_, Q8_0_, Q4_K_, Q5_K_, Q6_K_ };

// The weight at (row, column) of a packed matrix. A lane of a warp that multiplies gets it among
// eight others; this asks for the same lane's part and takes one, so there is one description of
// each format, in `formats.cuh`, and it is proven by `unpack` and its test.
template <class F>
DEVICE float weight(const Planes& planes, uint32_t groups, uint32_t row, uint32_t column) {
    uint32_t half = row % TILE / 8, in_chunk = column % CHUNK;
    uint32_t c = column % GROUP / CHUNK;
    uint32_t t = F::IS_SPLIT ? in_chunk % 16 / 4 : in_chunk / 8;
    uint32_t nth = F::IS_SPLIT ? in_chunk / 16 * 4 + in_chunk % 4 : in_chunk % 8;
    F f = {};
    load_group(f, planes, Place::at(row / TILE, column / GROUP, groups), row % 8 * 4 + t);
    settle_group(f, column / GROUP);
    uint32_t pairs[4];
    F::pairs(f, half, c, pairs);
    uint32_t pair = nth < 2 ? pairs[0] : nth < 4 ? pairs[1] : nth < 6 ? pairs[2] : pairs[3];
    float code = bf16_to_f32(static_cast<uint16_t>(nth % 2 ? pair >> 16 : pair & 0xFFFF));
    if constexpr (F::IS_DENSE) {
        return code;
    } else if constexpr (F::IS_SPLIT) {
        return F::scale(f, half, c, nth / 4) * code;
    } else {
        Affine affine = F::affine(f, half, c);
        return fmaf(affine.d, code, affine.m);
    }
}

DEVICE float weight_of(uint32_t type, const Planes& planes, uint32_t groups, uint32_t row,
                       uint32_t column) {
    switch (type) {
        case BF16: return weight<Bf16>(planes, groups, row, column);
        case Q4_0_: return weight<Q4_0>(planes, groups, row, column);
        case Q4_1_: return weight<Q4_1>(planes, groups, row, column);
        case Q5_0_: return weight<Q5_0>(planes, groups, row, column);
        case Q5_1_: return weight<Q5_1>(planes, groups, row, column);
        case Q8_0_: return weight<Q8_0>(planes, groups, row, column);
        case Q4_K_: return weight<Q4_K>(planes, groups, row, column);
        case Q5_K_: return weight<Q5_K>(planes, groups, row, column);
        default: return weight<Q6_K>(planes, groups, row, column);
    }
}

// Puts tokens that a step has chosen where the next one reads its own. One that could not be chosen
// becomes the first: its sequence has failed, and its row must still be one of the table's.
struct Feed {
    uint32_t* tokens;        // [rows]
    const uint32_t* chosen;  // [choices][stride]
    const uint32_t* pairs;   // [count]: row, choice
    uint32_t count, stride, vocab, padding;
};

extern "C" __global__ void __launch_bounds__(ROW_THREADS)
    feed(const __grid_constant__ Feed p) {
    follow();
    uint32_t i = blockIdx.x * ROW_THREADS + threadIdx.x;
    if (i >= p.count) return;
    uint32_t token = p.chosen[size_t{p.pairs[2 * i + 1]} * p.stride];
    p.tokens[p.pairs[2 * i]] = token < p.vocab ? token : 0;
}

struct Embed {
    Planes table;
    const uint32_t* tokens;   // [rows]
    float* hidden;            // [rows][width]
    const float* next_norm;   // [width]
    uint16_t* next_x;         // bf16 [rows][next_stride]
    float* next_squares;      // [rows]
    uint32_t type, groups, width, next_stride;
    float scale;
};

extern "C" __global__ void __launch_bounds__(ROW_THREADS)
    embed(const __grid_constant__ Embed p) {
    __shared__ float room[ROW_WARPS];
    follow();
    size_t row = blockIdx.x;
    uint32_t token = p.tokens[row];
    float squares = 0.0f;
    for (uint32_t k = threadIdx.x; k < p.width; k += ROW_THREADS) {
        float value = weight_of(p.type, p.table, p.groups, token, k) * p.scale;
        p.hidden[row * p.width + k] = value;
        p.next_x[row * p.next_stride + k] = f32_to_bf16(value * p.next_norm[k]);
        squares = fmaf(value, value, squares);
    }
    squares = block_sum<ROW_WARPS>(squares, room);
    if (threadIdx.x == 0) p.next_squares[row] = squares;
}

// hidden += product / rms(product) * post_norm, for models that normalize what a layer adds.
struct AddNormed {
    const float* product;     // [rows][width]
    const float* post_norm;   // [width]
    float* hidden;            // [rows][width]
    const float* next_norm;   // [width]
    uint16_t* next_x;         // bf16 [rows][next_stride]
    float* next_squares;      // [rows]
    uint32_t width, next_stride;
    float eps;
    uint32_t padding;
};

extern "C" __global__ void __launch_bounds__(ROW_THREADS)
    add_normed(const __grid_constant__ AddNormed p) {
    __shared__ float room[ROW_WARPS];
    follow();
    size_t row = blockIdx.x, at = row * p.width;
    float squares = 0.0f;
    for (uint32_t k = threadIdx.x; k < p.width; k += ROW_THREADS) {
        squares = fmaf(p.product[at + k], p.product[at + k], squares);
    }
    float width = static_cast<float>(p.width);
    float scale = rsqrtf(block_sum<ROW_WARPS>(squares, room) / width + p.eps);
    squares = 0.0f;
    for (uint32_t k = threadIdx.x; k < p.width; k += ROW_THREADS) {
        float value = p.hidden[at + k] + p.product[at + k] * scale * p.post_norm[k];
        p.hidden[at + k] = value;
        p.next_x[row * p.next_stride + k] = f32_to_bf16(value * p.next_norm[k]);
        squares = fmaf(value, value, squares);
    }
    squares = block_sum<ROW_WARPS>(squares, room);
    if (threadIdx.x == 0) p.next_squares[row] = squares;
}

// out = hidden / rms(hidden) * norm, of the rows that are asked for.
struct Normed {
    const float* hidden;    // [.., width]
    const uint32_t* rows;   // [grid]
    const float* norm;      // [width]
    float* out;             // [grid][width]
    uint32_t width;
    float eps;
};

extern "C" __global__ void __launch_bounds__(ROW_THREADS)
    normed(const __grid_constant__ Normed p) {
    __shared__ float room[ROW_WARPS];
    follow();
    const float* hidden = p.hidden + size_t{p.rows[blockIdx.x]} * p.width;
    float squares = 0.0f;
    for (uint32_t k = threadIdx.x; k < p.width; k += ROW_THREADS) {
        squares = fmaf(hidden[k], hidden[k], squares);
    }
    float width = static_cast<float>(p.width);
    float scale = rsqrtf(block_sum<ROW_WARPS>(squares, room) / width + p.eps);
    for (uint32_t k = threadIdx.x; k < p.width; k += ROW_THREADS) {
        p.out[size_t{blockIdx.x} * p.width + k] = hidden[k] * scale * p.norm[k];
    }
}

// All of a packed matrix as f32, for tests of packing: a block for each row.
struct Unpack {
    Planes matrix;
    float* out;  // [rows][columns]
    uint32_t type, groups, columns, padding;
};

extern "C" __global__ void __launch_bounds__(ROW_THREADS)
    unpack(const __grid_constant__ Unpack p) {
    follow();
    for (uint32_t k = threadIdx.x; k < p.columns; k += ROW_THREADS) {
        float value = weight_of(p.type, p.matrix, p.groups, blockIdx.x, k);
        p.out[size_t{blockIdx.x} * p.columns + k] = value;
    }
}
