// What both kinds of attention are made of: of single rows (`attention.cu`), of many rows of a
// sequence (`prefill.cu`).
#pragma once

#include "cache.cuh"

constexpr float NOTHING = -1e30f;  // below every score, and still finite

DEVICE float weight_at(float score, float highest) {
    return score <= NOTHING ? 0.0f : __expf(score - highest);
}

DEVICE uint4 read16(const void* from) { return *static_cast<const uint4*>(from); }

DEVICE uint32_t nth_word(const uint4& v, uint32_t i) {
    return i == 0 ? v.x : i == 1 ? v.y : i == 2 ? v.z : v.w;
}

// What the lanes of a warp read of a row of `DIM` keys or values. Of keys four lanes read 16 bytes
// each, then the next 64; of values eight lanes do, or 8 bytes each if the row has no more. Each
// two neighbours of a lane's values are rows of a product of their own.
template <class Stored, int DIM>
struct Reads {
    static constexpr int ROW_BYTES = DIM * Stored::BYTES;
    static constexpr int KEY_LOADS = ROW_BYTES / 64;
    static constexpr int KEY_VALUES = 16 / Stored::BYTES;  // in a load
    static constexpr int VALUE_BYTES = ROW_BYTES < 128 ? 8 : 16;
    static constexpr int VALUE_LOADS = ROW_BYTES / 8 / VALUE_BYTES;
    static constexpr int WORD_PRODUCTS = 2 / Stored::BYTES;  // of four bytes
    static constexpr int LOAD_PRODUCTS = VALUE_BYTES / 4 * WORD_PRODUCTS;
    static constexpr int PRODUCTS = VALUE_LOADS * LOAD_PRODUCTS;
    static_assert(PRODUCTS == DIM / 16, "each value once");

    // A head's values of a block, the tiles of which are numbered through the layer.
    DEVICE static const uint8_t* tile(const uint8_t* all, uint32_t tile) {
        return all + size_t{tile} * (KV_BLOCK * ROW_BYTES);
    }

    // The first of the nth eight values of a query that go with the keys that lane t reads.
    DEVICE static uint32_t query(int n, uint32_t t) {
        return n * 8 / KEY_VALUES * 4 * KEY_VALUES + n * 8 % KEY_VALUES + KEY_VALUES * t;
    }

    // The first of a product's two values of a row.
    DEVICE static uint32_t value(int product, uint32_t g) {
        int in_load = product % LOAD_PRODUCTS;
        return product / LOAD_PRODUCTS * 16 * LOAD_PRODUCTS + 2 * in_load + 2 * LOAD_PRODUCTS * g;
    }

    // The words of a load of values.
    DEVICE static void load_values(const uint8_t* from, bool is_there, uint4& words) {
        words = zeros();
        if (!is_there) return;
        if (VALUE_BYTES == 16) {
            words = read16(from);
        } else {
            uint2 half = *reinterpret_cast<const uint2*>(from);
            words.x = half.x, words.y = half.y;
        }
    }

    // The nth words of four positions, as products have them.
    DEVICE static void turn_values(const uint4 v[4], uint32_t n,
                                   uint32_t products[WORD_PRODUCTS][4]) {
        uint32_t words[4] = {nth_word(v[0], n), nth_word(v[1], n), nth_word(v[2], n),
                             nth_word(v[3], n)};
        Stored::turn(words, products);
    }
};

// The exponents of positions 2t, 2t+1, 2t+8, 2t+9 of a tile, as bytes from the lowest on.
DEVICE uint32_t read_exponents(const uint8_t* all, uint32_t tile, uint32_t t) {
    const uint16_t* pairs = reinterpret_cast<const uint16_t*>(all + size_t{tile} * KV_BLOCK);
    return pairs[t] | static_cast<uint32_t>(pairs[t + 4]) << 16;
}

// Products with keys of these positions, `low` of the first two, times their powers of two.
DEVICE void multiply_products(uint32_t exponents, float* low, float* high) {
    low[0] *= __uint_as_float((exponents & 0xFF) << 23);
    low[1] *= __uint_as_float((exponents >> 8 & 0xFF) << 23);
    high[0] *= __uint_as_float((exponents >> 16 & 0xFF) << 23);
    high[1] *= __uint_as_float((exponents >> 24) << 23);
}

// Weights of the same positions, the first of which is at `first`, times their powers of two;
// positions after `last` have none.
DEVICE void multiply_weights(uint32_t exponents, uint32_t first, uint32_t t, uint32_t last,
                             uint32_t weights[2]) {
#pragma unroll
    for (uint32_t i = 0; i < 2; ++i) {
        uint32_t position = first + 2 * t + 8 * i;
        uint32_t low = position <= last ? exponents >> 16 * i & 0xFF : 0;
        uint32_t high = position + 1 <= last ? exponents >> (16 * i + 8) & 0xFF : 0;
        weights[i] = multiply_bf16(weights[i], low << 7 | high << 23);
    }
}
