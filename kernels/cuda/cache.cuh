// How keys and values lie in the cache.
//
// A layer has an array of keys and one of values, `[block][kv head][16 positions][head_dim]`: what
// attention reads of one head and block is contiguous. A value is bf16, or fp8: a byte with a sign,
// three bits of exponent with bias 3 and four of fraction (e3m4), all of which are numbers. Then
// each position of a head has a power of two to multiply by, as its exponent with bias 127 (E8M0 of
// OCP's MX), in an array of its own, `[block][kv head][16]`.
//
// With that, three bits of exponent are enough, and the fourth of fraction halves the error that
// e4m3 has. The power is the same for all values of a position and head, so attention multiplies
// scores and weights by it, not values; and that is exact, so results are those of the same numbers
// in bf16.
#pragma once

#include "machine.cuh"

constexpr uint32_t KV_BLOCK = 16;  // positions

// The exponent of the power of two for values of which the largest has these bits, without its
// sign: the least with which it is 31 at most, the largest e3m4. 255 if not all are numbers.
DEVICE uint32_t exponent_for(uint32_t largest) {
    if (largest >= 0x7F800000) return 255;
    // 31 is 1.9375 * 2^4.
    uint32_t exponent = (largest + 0x07FFFF) >> 23;
    return exponent > 5 ? exponent - 4 : 1;
}

// What values are multiplied by before they are stored.
DEVICE float divided_by(uint32_t exponent) { return __uint_as_float((254 - exponent) << 23); }

// The nearest e3m4, ties to even, of what is 31 at most.
DEVICE uint8_t f32_to_e3m4(float value) {
    uint32_t bits = __float_as_uint(value), size = bits & 0x7FFFFFFF;
    // The exponent's bias is 3, not 127: 124 less, above four bits of fraction.
    uint32_t code = ((size + 0x3FFFF + (size >> 19 & 1)) >> 19) - (124 << 4);
    // Below 2^-2 they are multiples of 2^-6, as floats at 2^17 are.
    if (size < 0x3E800000) {
        code = __float_as_uint(__fadd_rn(__uint_as_float(size), 131072.0f)) - 0x48000000;
    }
    return static_cast<uint8_t>(code | (bits >> 24 & 0x80));
}

// Four e3m4 as bf16: those in bytes 0 and 2, then those in bytes 1 and 3.
DEVICE void widen_e3m4(uint32_t codes, uint32_t& even, uint32_t& odd) {
    // Exponents and fractions go where bf16 has them. Its bias is 124 more, and so subnormal
    // numbers, too, are 2^124 times as large as they then seem.
    even = (codes << 3 & 0x03F803F8) | (codes << 8 & 0x80008000);
    odd = (codes >> 5 & 0x03F803F8) | (codes & 0x80008000);
    even = multiply_bf16(even, 0x7D807D80);
    odd = multiply_bf16(odd, 0x7D807D80);
}

// Values as bf16, in their order.
struct KvBf16 {
    static constexpr int BYTES = 2;
    static constexpr bool HAS_EXPONENTS = false;

    // 16 bytes as pairs of neighbours.
    DEVICE static void widen(const uint4& stored, uint32_t pairs[4]) {
        pairs[0] = stored.x, pairs[1] = stored.y, pairs[2] = stored.z, pairs[3] = stored.w;
    }

    // Of four bytes of each of four positions, as the left side of products whose rows g and g + 8
    // are neighbouring values: those of positions 0 and 1, and of 2 and 3, side by side.
    DEVICE static void turn(const uint32_t at[4], uint32_t products[1][4]) {
        products[0][0] = __byte_perm(at[0], at[1], 0x5410);
        products[0][1] = __byte_perm(at[0], at[1], 0x7632);
        products[0][2] = __byte_perm(at[2], at[3], 0x5410);
        products[0][3] = __byte_perm(at[2], at[3], 0x7632);
    }
};

// Values as bytes. Of each four the second and the third have changed places: then neighbours are
// widened together.
struct KvFp8 {
    static constexpr int BYTES = 1;
    static constexpr bool HAS_EXPONENTS = true;

    // Where a value of a row is.
    DEVICE static uint32_t place(uint32_t value) {
        return (value & ~3u) | (value & 1) << 1 | (value >> 1 & 1);
    }

    DEVICE static void widen(const uint4& stored, uint32_t pairs[8]) {
        widen_e3m4(stored.x, pairs[0], pairs[1]);
        widen_e3m4(stored.y, pairs[2], pairs[3]);
        widen_e3m4(stored.z, pairs[4], pairs[5]);
        widen_e3m4(stored.w, pairs[6], pairs[7]);
    }

    DEVICE static void turn(const uint32_t at[4], uint32_t products[2][4]) {
        // The first value of each is in byte 0, the second in byte 2.
        widen_e3m4(__byte_perm(at[0], at[1], 0x5410), products[0][0], products[1][0]);
        widen_e3m4(__byte_perm(at[0], at[1], 0x7632), products[0][1], products[1][1]);
        widen_e3m4(__byte_perm(at[2], at[3], 0x5410), products[0][2], products[1][2]);
        widen_e3m4(__byte_perm(at[2], at[3], 0x7632), products[0][3], products[1][3]);
    }
};
