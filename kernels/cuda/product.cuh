// What the kernels of a product share: their parameters, how a chunk of columns is added to an
// output, and what becomes of the output in the end. They add up each output in one order, this
// one, so that all give the same bits:
//
// The spans of 256 columns are dealt out to eight parts: span s is part s % 8's. A part adds its
// groups in order, a group its chunks. Then the parts are added up in order, from 0.0 on. Scale,
// bias and so on follow.
//
// RMS norms take no pass of their own. Whoever writes a hidden state also writes it multiplied with
// the weights of the norm that follows, in bf16, and the sum of squares; the division by the root
// of their mean, one number for each row, comes after the product, here.
#pragma once

#include "formats.cuh"

enum Epilogue : uint32_t {
    STORE = 0,  // out = product (+ bias), capped
    ADD = 1,    // hidden += product; next input and sums of squares
    GATE = 2,   // next input = activation(row of gate) * row of up; rows alternate by eights
};
enum Activation : uint32_t { SILU = 0, GELU_TANH = 1 };

struct Product {
    Planes weights;
    const uint16_t* x;         // bf16 [rows][x_stride]
    const uint32_t* x_rows;    // null, or which row of x (and of squares) each token has
    const float* squares;      // null, or [rows][square_parts]: x still lacks its norm's division
    const float* bias;         // null, or [rows of the matrix]
    float* out;                // STORE, ADD: [tokens][out_stride]
    const float* next_norm;    // ADD: [rows of the matrix]
    uint16_t* next_x;          // ADD, GATE: bf16 [tokens][next_stride]
    float* next_squares;       // ADD: [tokens][tiles]
    uint32_t rows, groups;     // of the matrix
    uint32_t tokens, x_stride, square_parts;
    float norm_width, norm_eps;
    uint32_t out_stride, next_stride;
    uint32_t epilogue, activation;
    float softcap;             // 0: none
};

constexpr uint32_t WARPS = 8;  // in a block
constexpr uint32_t PARTS = 8;  // of the columns

DEVICE float activate(uint32_t activation, float x) {
    if (activation == SILU) return __fdividef(x, 1.0f + __expf(-x));
    return 0.5f * x * (1.0f + tanhf(0.7978845608f * fmaf(0.044715f * x * x, x, x)));
}

DEVICE uint32_t num_tiles(const Product& p) { return (p.rows + TILE - 1) / TILE; }

// The sums of a chunk's activations, by a product with ones: there they are where each lane needs
// them, of tokens 2t and 2t + 1 (twice).
DEVICE void add_up(const uint4& x, float total[4]) {
    constexpr uint32_t ones = 0x3F803F80;
#pragma unroll
    for (int i = 0; i < 4; ++i) total[i] = 0.0f;
    mma(total, ones, ones, ones, ones, x.x, x.y);
    mma(total, ones, ones, ones, ones, x.z, x.w);
}

// A lane's weights of a chunk, by halves: as bf16, and what the sums of their products are scaled
// by: a scale and a minimum, or of formats that split a chunk two scales.
struct Weights {
    uint32_t w[2][4];
    Affine affine[2];
};

template <class F>
DEVICE Weights take_chunk(const F& f, uint32_t c) {
    Weights weights;
#pragma unroll
    for (uint32_t half = 0; half < 2; ++half) {
        F::pairs(f, half, c, weights.w[half]);
        if constexpr (!F::IS_DENSE) weights.affine[half] = F::affine(f, half, c);
    }
    return weights;
}

// Adds a chunk of a tile to its sums with eight tokens. `x`: the activations; `total`, for formats
// with minima: what `add_up` makes of them.
template <class F>
DEVICE void add_chunk(const Weights& weights, const uint4& x, const float total[2],
                      float sums[4]) {
    const uint32_t(&w)[2][4] = weights.w;
    if constexpr (F::IS_DENSE) {
        mma(sums, w[0][0], w[1][0], w[0][1], w[1][1], x.x, x.y);
        mma(sums, w[0][2], w[1][2], w[0][3], w[1][3], x.z, x.w);
    } else if constexpr (F::IS_SPLIT) {
        float first[4] = {0, 0, 0, 0}, second[4] = {0, 0, 0, 0};
        mma(first, w[0][0], w[1][0], w[0][1], w[1][1], x.x, x.y);
        mma(second, w[0][2], w[1][2], w[0][3], w[1][3], x.z, x.w);
#pragma unroll
        for (uint32_t i = 0; i < 4; ++i) {
            sums[i] = fmaf(weights.affine[i / 2].d, first[i], sums[i]);
            sums[i] = fmaf(weights.affine[i / 2].m, second[i], sums[i]);
        }
    } else {
        float block[4] = {0, 0, 0, 0};
        mma(block, w[0][0], w[1][0], w[0][1], w[1][1], x.x, x.y);
        mma(block, w[0][2], w[1][2], w[0][3], w[1][3], x.z, x.w);
#pragma unroll
        for (uint32_t i = 0; i < 4; ++i) {
            if (F::HAS_MINIMA) sums[i] = fmaf(weights.affine[i / 2].m, total[i % 2], sums[i]);
            sums[i] = fmaf(weights.affine[i / 2].d, block[i], sums[i]);
        }
    }
}

// 1 / sqrt(mean + eps) of each of `count` tokens, its parts always added in the same order.
DEVICE void find_scales(const Product& p, uint32_t first_token, uint32_t count, float* scales) {
    uint32_t lane = threadIdx.x % 32;
    for (uint32_t i = threadIdx.x / 32; i < count; i += WARPS) {
        uint32_t token = first_token + i;
        float sum = 0.0f;
        if (p.squares != nullptr && token < p.tokens) {
            size_t row = p.x_rows ? p.x_rows[token] : token;
            for (uint32_t part = lane; part < p.square_parts; part += 32) {
                sum += p.squares[row * p.square_parts + part];
            }
        }
        sum = warp_sum(sum);
        float scale = p.squares ? rsqrtf(sum / p.norm_width + p.norm_eps) : 1.0f;
        if (lane == 0) scales[i] = scale;
    }
}

// Where a lane's two outputs are: rows g and g + 8 of a tile, for one token.
struct Spot {
    uint32_t tile, token, g;
};

// What they are added to: nothing but for ADD.
DEVICE void read_hidden(const Product& p, Spot at, float hidden[2]) {
#pragma unroll
    for (uint32_t i = 0; i < 2; ++i) {
        uint32_t row = at.tile * TILE + at.g + 8 * i;
        bool is_there = p.epilogue == ADD && at.token < p.tokens && row < p.rows;
        hidden[i] = is_there ? p.out[size_t{at.token} * p.out_stride + row] : 0.0f;
    }
}

// All lanes of a warp come here with the same tile, and the same of their two tokens (the columns
// of `mma`), so that sums over the tile's rows are shuffles.
DEVICE void conclude(const Product& p, Spot at, const float hidden[2], float upper, float lower,
                     float scale) {
    bool is_token = at.token < p.tokens;
    // Rounded for itself in every kernel, never fused with what is added.
    float values[2] = {__fmul_rn(upper, scale), __fmul_rn(lower, scale)};
    if (p.epilogue == GATE) {
        uint32_t row = at.tile * (TILE / 2) + at.g;
        if (is_token && 2 * row < p.rows) {
            float gated = activate(p.activation, values[0]) * values[1];
            p.next_x[size_t{at.token} * p.next_stride + row] = f32_to_bf16(gated);
        }
        return;
    }
    float squares = 0.0f;
#pragma unroll
    for (uint32_t i = 0; i < 2; ++i) {
        uint32_t row = at.tile * TILE + at.g + 8 * i;
        if (!is_token || row >= p.rows) continue;
        float* out = p.out + size_t{at.token} * p.out_stride + row;
        float value = values[i];
        if (p.bias) value += p.bias[row];
        if (p.epilogue == STORE) {
            if (p.softcap != 0.0f) value = p.softcap * tanhf(value / p.softcap);
            *out = value;
        } else {
            value += hidden[i];
            *out = value;
            squares = fmaf(value, value, squares);
            p.next_x[size_t{at.token} * p.next_stride + row] =
                f32_to_bf16(value * p.next_norm[row]);
        }
    }
    if (p.epilogue != ADD) return;
    for (int step = 16; step >= 4; step /= 2) {
        squares += __shfl_xor_sync(0xFFFFFFFFu, squares, step);
    }
    if (is_token && at.g == 0) {
        p.next_squares[size_t{at.token} * num_tiles(p) + at.tile] = squares;
    }
}
