// The products of a step: a matrix of weights with up to 32 rows of activations at a time.
//
// What bounds a small batch is reading the weights, once, at the speed of memory. So a block of
// eight warps takes one tile of 16 rows, each warp every eighth span of 256 columns, and while one
// group of 128 is multiplied the next is on its way: 8 loads of 16 bytes a lane in flight, times
// 512 threads on a multiprocessor. Multiplying is left to the tensor cores even for one row of
// activations (`mma`'s eight columns are then mostly zeros): they have the time, the other units
// have not, above four rows.
//
// Blocks of one tile and other rows of activations follow each other in the grid: they run at
// about the same time, so that a long prompt's products too should read memory about once, and the
// rest from L2.
//
// The order of additions within an output depends on its row and nothing else: not on how many rows
// of activations there are, which of them it is, or the grid. That is what makes results equal bit
// for bit in any batch.
//
// RMS norms take no pass of their own. Whoever writes a hidden state also writes it multiplied with
// the weights of the norm that follows, in bf16, and the sum of squares; the division by the root
// of their mean, one number for each row, comes after the product, here.
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

constexpr uint32_t WARPS = 8;

DEVICE float activate(uint32_t activation, float x) {
    if (activation == SILU) return __fdividef(x, 1.0f + __expf(-x));
    return 0.5f * x * (1.0f + tanhf(0.7978845608f * fmaf(0.044715f * x * x, x, x)));
}

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
        uint32_t w0[4], w1[4];
        F::pairs(f, 0, c, w0);
        F::pairs(f, 1, c, w1);
#pragma unroll
        for (int n = 0; n < NT; ++n) {
            if constexpr (F::IS_DENSE) {
                mma(sums[n], w0[0], w1[0], w0[1], w1[1], x[n].x, x[n].y);
                mma(sums[n], w0[2], w1[2], w0[3], w1[3], x[n].z, x[n].w);
            } else if constexpr (F::IS_SPLIT) {
                float first[4] = {0, 0, 0, 0}, second[4] = {0, 0, 0, 0};
                mma(first, w0[0], w1[0], w0[1], w1[1], x[n].x, x[n].y);
                mma(second, w0[2], w1[2], w0[3], w1[3], x[n].z, x[n].w);
#pragma unroll
                for (uint32_t i = 0; i < 4; ++i) {
                    sums[n][i] = fmaf(F::scale(f, i / 2, c, 0), first[i], sums[n][i]);
                    sums[n][i] = fmaf(F::scale(f, i / 2, c, 1), second[i], sums[n][i]);
                }
            } else {
                float block[4] = {0, 0, 0, 0};
                mma(block, w0[0], w1[0], w0[1], w1[1], x[n].x, x[n].y);
                mma(block, w0[2], w1[2], w0[3], w1[3], x[n].z, x[n].w);
                Affine rows_affine[2] = {F::affine(f, 0, c), F::affine(f, 1, c)};
                if constexpr (F::HAS_MINIMA) {
                    // The sums of the activations, by a product with ones: there they are where
                    // each lane needs them.
                    constexpr uint32_t ones = 0x3F803F80;
                    float total[4] = {0, 0, 0, 0};
                    mma(total, ones, ones, ones, ones, x[n].x, x[n].y);
                    mma(total, ones, ones, ones, ones, x[n].z, x[n].w);
#pragma unroll
                    for (uint32_t i = 0; i < 4; ++i) {
                        sums[n][i] = fmaf(rows_affine[i / 2].m, total[i], sums[n][i]);
                    }
                }
#pragma unroll
                for (uint32_t i = 0; i < 4; ++i) {
                    sums[n][i] = fmaf(rows_affine[i / 2].d, block[i], sums[n][i]);
                }
            }
        }
    }
}

// What the warps of a block leave for its epilogue.
template <int NT>
struct Results {
    float sums[WARPS][NT][32][4];
    float scales[NT * 8];  // of each token: one over the root of its mean square
};

// 1 / sqrt(mean + eps) of each token, its parts always added in the same order.
template <int NT>
DEVICE void find_scales(const Product& p, uint32_t first_token, Results<NT>& results) {
    uint32_t lane = threadIdx.x % 32;
    for (uint32_t i = threadIdx.x / 32; i < NT * 8; i += WARPS) {
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
        if (lane == 0) results.scales[i] = scale;
    }
}

// Rows g and g + 8 of the tile, for one token. All lanes of a warp come here with the same token of
// their two (the columns of `mma`), so that sums over the tile's rows are shuffles.
DEVICE void conclude(const Product& p, uint32_t token, uint32_t g, float upper, float lower) {
    bool is_token = token < p.tokens;
    uint32_t tile = blockIdx.y, rows[2] = {tile * TILE + g, tile * TILE + g + 8};
    float values[2] = {upper, lower};
    if (p.epilogue == GATE) {
        uint32_t row = tile * (TILE / 2) + g;
        if (is_token && 2 * row < p.rows) {
            float gated = activate(p.activation, upper) * lower;
            p.next_x[size_t{token} * p.next_stride + row] = f32_to_bf16(gated);
        }
        return;
    }
    float squares = 0.0f;
    for (int i = 0; i < 2; ++i) {
        if (!is_token || rows[i] >= p.rows) continue;
        float* out = p.out + size_t{token} * p.out_stride + rows[i];
        float value = values[i];
        if (p.bias) value += p.bias[rows[i]];
        if (p.epilogue == STORE) {
            if (p.softcap != 0.0f) value = p.softcap * tanhf(value / p.softcap);
            *out = value;
        } else {
            value += *out;
            *out = value;
            squares = fmaf(value, value, squares);
            p.next_x[size_t{token} * p.next_stride + rows[i]] =
                f32_to_bf16(value * p.next_norm[rows[i]]);
        }
    }
    if (p.epilogue != ADD) return;
    for (int step = 16; step >= 4; step /= 2) {
        squares += __shfl_xor_sync(0xFFFFFFFFu, squares, step);
    }
    if (is_token && g == 0) p.next_squares[size_t{token} * gridDim.y + tile] = squares;
}

template <class F, int NT>
DEVICE void product(const Product& p) {
    __shared__ Results<NT> results;
    uint32_t warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    uint32_t first_token = blockIdx.x * NT * 8;
    const uint16_t* rows[NT];
#pragma unroll
    for (int n = 0; n < NT; ++n) {
        uint32_t token = first_token + n * 8 + lane / 4;
        bool is_token = token < p.tokens;
        uint32_t row = is_token && p.x_rows ? p.x_rows[token] : token;
        rows[n] = is_token ? p.x + size_t{row} * p.x_stride : nullptr;
    }
    float sums[NT][4] = {};
    F now = {}, next = {};
    uint32_t group = 2 * warp;
    if (group < p.groups) F::load(now, p.weights, Place::at(blockIdx.y, group, p.groups), lane);
    find_scales<NT>(p, first_token, results);
    while (group < p.groups) {
        // Both groups of a span, then the span eight further on.
        uint32_t after = group % 2 == 0 ? group + 1 : group + 2 * WARPS - 1;
        if (after < p.groups) {
            F::load(next, p.weights, Place::at(blockIdx.y, after, p.groups), lane);
        }
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
        float scale = results.scales[in_block];
        conclude(p, first_token + in_block, lane / 4, upper * scale, lower * scale);
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
