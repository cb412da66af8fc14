// How weights lie in device memory, and how a warp turns them into the A fragments of `mma`.
//
// A matrix is cut into tiles of 16 rows and groups of 128 columns, both filled up with zeros. One
// warp takes one group of one tile at a time: each lane gets its part with whole loads of 16 bytes,
// and the 32 lanes' parts lie side by side (one load of a warp is 512 contiguous bytes; a row of
// bf16, which stays as it is for cuBLAS, gives pieces of 64). ggml's blocks of 18, 34 or 210 bytes
// allow neither, so they are taken apart into planes when a model is loaded (`packing.rs`). Each
// half of a group, a step of 64 columns, has loads of its own, so that registers of the one can be
// filled again while the other is multiplied.
//
// With g = lane / 4 and t = lane % 4 a lane multiplies rows g and g + 8 ("half" 0 and 1), and of
// each chunk of 32 columns the eight that `mma`'s two products of 16 give it. Which eight is free,
// as long as weights and activations agree: columns 8t to 8t+7, so that activations too are read 16
// bytes at a time. (Q6_K has a scale for each 16 columns, so there it is 4t.. and 16+4t..)
//
// Quantized codes become bf16 by their bits: 0x4300 is 128.0 and one step of its mantissa is 1, so
// `0x4300 | code` is 128 + code, exactly, for codes below 128. Subtracting 128 (and what the format
// is centred on) is exact too. The products of a block are summed by the tensor cores in f32, then
// scaled: nothing is rounded but the activations, to bf16. (The trick is Marlin's, arXiv
// 2408.11743, there with f16; bf16 because activations of Gemma and Qwen overflow f16.)
#pragma once

#include "machine.cuh"

constexpr uint32_t TILE = 16;    // rows
constexpr uint32_t GROUP = 128;  // columns
constexpr uint32_t CHUNK = 32;   // columns: a block of ggml's, or an eighth of one of 256
constexpr uint32_t CHUNKS = GROUP / CHUNK;
constexpr uint32_t STEP = 64;    // columns: two chunks, what a lane has of them in one load
constexpr uint32_t STEPS = GROUP / STEP;

struct Planes {
    const uint8_t* codes;   // 4-bit codes (low bits of wider ones), 8-bit codes, or rows of bf16
    const uint8_t* high;    // the bits above four, where a format has them
    const uint8_t* scales;  // scales and minima
};

// Where a warp is in a matrix: tile `tile`, group `group` of `groups`.
struct Place {
    uint32_t tile, group, groups;
    DEVICE static Place at(uint32_t tile, uint32_t group, uint32_t groups) {
        return {tile, group, groups};
    }
    DEVICE static size_t of(Place p) { return p.tile * p.groups + p.group; }
    // Formats with blocks of 256 columns keep their scales for two groups together.
    DEVICE static size_t span(Place p) {
        return p.tile * ((p.groups + 1) / 2) + p.group / 2;
    }
};

// A scale and a minimum: weight = d * code + m.
struct Affine {
    float d, m;
};

// All formats: `load_step` loads a lane's part of one step of a group and leaves the other's.
// `settle_step` is called when the step is multiplied: what it computes of what was loaded would
// make the warp wait before.
template <class F>
DEVICE void settle_group(F& f, uint32_t group) {
#pragma unroll
    for (uint32_t step = 0; step < STEPS; ++step) F::settle_step(f, group, step);
}

template <class F>
DEVICE void load_group(F& f, const Planes& planes, Place p, uint32_t lane) {
#pragma unroll
    for (uint32_t step = 0; step < STEPS; ++step) F::load_step(f, planes, p, lane, step);
}

// Rows as they are: bf16, `[rows up to a tile][columns up to a group]`.
struct Bf16 {
    static constexpr bool IS_DENSE = true, HAS_MINIMA = false, IS_SPLIT = false;
    uint4 w[2][CHUNKS];  // eight columns of each half and chunk

    DEVICE static void load_step(Bf16& f, const Planes& planes, Place p, uint32_t lane,
                                 uint32_t step) {
        size_t stride = static_cast<size_t>(p.groups) * GROUP * 2;
        const uint8_t* row = planes.codes + (p.tile * size_t{TILE} + lane / 4) * stride +
                             p.group * (GROUP * 2) + lane % 4 * 16;
#pragma unroll
        for (uint32_t c = 2 * step; c < 2 * step + 2; ++c) {
            f.w[0][c] = load_once(row + c * (CHUNK * 2));
            f.w[1][c] = load_once(row + 8 * stride + c * (CHUNK * 2));
        }
    }
    DEVICE static void settle_step(Bf16&, uint32_t, uint32_t) {}
    DEVICE static void pairs(const Bf16& f, uint32_t half, uint32_t c, uint32_t out[4]) {
        out[0] = f.w[half][c].x, out[1] = f.w[half][c].y;
        out[2] = f.w[half][c].z, out[3] = f.w[half][c].w;
    }
};

DEVICE uint32_t word(const uint4& v, uint32_t i) {
    return i == 0 ? v.x : i == 1 ? v.y : i == 2 ? v.z : v.w;
}

// Codes of four bits: one word for each lane, half and chunk. Pair j (columns 2j, 2j+1 of the
// lane's eight) has its lower column at bits 4j and its upper one at bits 16 + 4j, so that one
// shift and one and-or give both as bf16. `[tile][group][step][lane][half][chunk]` words.
struct FourBits {
    uint4 low[STEPS];

    DEVICE static void load_step(FourBits& f, const Planes& planes, Place p, uint32_t lane,
                                 uint32_t step) {
        f.low[step] = load_once(planes.codes + Place::of(p) * 1024 + step * 512 + lane * 16);
    }
    DEVICE static uint32_t pair(const FourBits& f, uint32_t half, uint32_t c, uint32_t j) {
        return word(f.low[c / 2], 2 * half + c % 2) >> (4 * j) & 0x000F000F;
    }
};

// `codes` (two of less than 128, in the lower bits of each half of a word) less `centre`, as bf16.
template <uint32_t CENTRE>
DEVICE uint32_t to_bf16(uint32_t codes) {
    // -(128 + CENTRE): the mantissa's lowest bit is worth 1.
    constexpr uint32_t minus = 0xC300 | CENTRE;
    return add_bf16(codes | 0x43004300, minus << 16 | minus);
}

// A scale, f16, for each row and chunk: `[tile][group][step][g][half][chunk]`.
struct ChunkScales {
    uint2 d[STEPS];

    DEVICE static void load_step(ChunkScales& f, const Planes& planes, Place p, uint32_t lane,
                                 uint32_t step) {
        const uint8_t* from = planes.scales + Place::of(p) * (TILE * 8) + step * 64 + lane / 4 * 8;
        f.d[step] = *reinterpret_cast<const uint2*>(from);
    }
    DEVICE static void settle_step(ChunkScales&, uint32_t, uint32_t) {}
    DEVICE static float scale(const ChunkScales& f, uint32_t half, uint32_t c) {
        uint32_t two = half == 0 ? f.d[c / 2].x : f.d[c / 2].y;
        return f16_to_f32(static_cast<uint16_t>(c % 2 ? two >> 16 : two & 0xFFFF));
    }
};

// The same with a minimum after each scale.
struct ChunkAffine {
    uint4 dm[STEPS];

    DEVICE static void load_step(ChunkAffine& f, const Planes& planes, Place p, uint32_t lane,
                                 uint32_t step) {
        f.dm[step] = load_once(planes.scales + Place::of(p) * (TILE * 16) + step * 128 +
                               lane / 4 * 16);
    }
    DEVICE static void settle_step(ChunkAffine&, uint32_t, uint32_t) {}
    DEVICE static Affine affine(const ChunkAffine& f, uint32_t half, uint32_t c) {
        uint32_t both = word(f.dm[c / 2], 2 * half + c % 2);
        return {f16_to_f32(static_cast<uint16_t>(both & 0xFFFF)),
                f16_to_f32(static_cast<uint16_t>(both >> 16))};
    }
};

// The first 16 bytes of a block of Q4_K or Q5_K as they are: d, dmin, and eight scales and minima
// of six bits. `[tile][span][row]`. All steps of a span read them, but the first time from L2.
struct KScales {
    // As loaded; settled: d and dmin, scales of the group's four chunks, minima, a byte each.
    uint4 words[STEPS][2];

    DEVICE static void load_step(KScales& f, const Planes& planes, Place p, uint32_t lane,
                                 uint32_t step) {
        const uint8_t* from = planes.scales + Place::span(p) * (TILE * 16) + lane / 4 * 16;
        f.words[step][0] = load_once(from);
        f.words[step][1] = load_once(from + 128);
    }
    DEVICE static void settle_step(KScales& f, uint32_t group, uint32_t step) {
#pragma unroll
        for (uint32_t half = 0; half < 2; ++half) {
            uint4& v = f.words[step][half];
            // ggml's `get_scale_min_k4`, four at a time.
            bool is_first = group % 2 == 0;
            v.y = is_first ? v.y & 0x3F3F3F3F : (v.w & 0x0F0F0F0F) | (v.y >> 2 & 0x30303030);
            v.z = is_first ? v.z & 0x3F3F3F3F : (v.w >> 4 & 0x0F0F0F0F) | (v.z >> 2 & 0x30303030);
        }
    }
    DEVICE static Affine affine(const KScales& f, uint32_t half, uint32_t c) {
        const uint4& v = f.words[c / 2][half];
        float d = f16_to_f32(static_cast<uint16_t>(v.x & 0xFFFF));
        float dmin = f16_to_f32(static_cast<uint16_t>(v.x >> 16));
        float sc = static_cast<float>(v.y >> (8 * c) & 0xFF);
        float mn = static_cast<float>(v.z >> (8 * c) & 0xFF);
        return {d * sc, -(dmin * mn)};
    }
};

// The fifth bits of a lane's 32 codes of a step: pair j of half h and the step's chunk c has its
// lower column at bit 8h + 4c + j and its upper one 16 above. `[tile][group][step][lane]` words.
struct FifthBits {
    uint32_t bits[STEPS];

    DEVICE static void load_step(FifthBits& f, const Planes& planes, Place p, uint32_t lane,
                                 uint32_t step) {
        const uint8_t* from = planes.high + Place::of(p) * 256 + step * 128 + lane * 4;
        f.bits[step] = *reinterpret_cast<const uint32_t*>(from);
    }
    DEVICE static uint32_t pair(const FifthBits& f, uint32_t half, uint32_t c, uint32_t j) {
        uint32_t at = 8 * half + 4 * (c % 2) + j;
        uint32_t moved = at >= 4 ? f.bits[c / 2] >> (at - 4) : f.bits[c / 2] << (4 - at);
        return moved & 0x00100010;
    }
};

template <class Codes, class Scales>
struct Symmetric {
    static constexpr bool IS_DENSE = false, HAS_MINIMA = false, IS_SPLIT = false;
    Codes codes;
    Scales scales;

    DEVICE static void load_step(Symmetric& f, const Planes& planes, Place p, uint32_t lane,
                                 uint32_t step) {
        Codes::load_step(f.codes, planes, p, lane, step);
        Scales::load_step(f.scales, planes, p, lane, step);
    }
    DEVICE static void settle_step(Symmetric& f, uint32_t group, uint32_t step) {
        Scales::settle_step(f.scales, group, step);
    }
    DEVICE static void pairs(const Symmetric& f, uint32_t half, uint32_t c, uint32_t out[4]) {
        Codes::pairs(f.codes, half, c, out);
    }
    DEVICE static Affine affine(const Symmetric& f, uint32_t half, uint32_t c) {
        return {Scales::scale(f.scales, half, c), 0.0f};
    }
};

template <class Codes, class Scales>
struct WithMinima {
    static constexpr bool IS_DENSE = false, HAS_MINIMA = true, IS_SPLIT = false;
    Codes codes;
    Scales scales;

    DEVICE static void load_step(WithMinima& f, const Planes& planes, Place p, uint32_t lane,
                                 uint32_t step) {
        Codes::load_step(f.codes, planes, p, lane, step);
        Scales::load_step(f.scales, planes, p, lane, step);
    }
    DEVICE static void settle_step(WithMinima& f, uint32_t group, uint32_t step) {
        Scales::settle_step(f.scales, group, step);
    }
    DEVICE static void pairs(const WithMinima& f, uint32_t half, uint32_t c, uint32_t out[4]) {
        Codes::pairs(f.codes, half, c, out);
    }
    DEVICE static Affine affine(const WithMinima& f, uint32_t half, uint32_t c) {
        return Scales::affine(f.scales, half, c);
    }
};

template <uint32_t CENTRE>
struct Four {
    FourBits low;

    DEVICE static void load_step(Four& f, const Planes& planes, Place p, uint32_t lane,
                                 uint32_t step) {
        FourBits::load_step(f.low, planes, p, lane, step);
    }
    DEVICE static void pairs(const Four& f, uint32_t half, uint32_t c, uint32_t out[4]) {
#pragma unroll
        for (uint32_t j = 0; j < 4; ++j) {
            out[j] = to_bf16<CENTRE>(FourBits::pair(f.low, half, c, j));
        }
    }
};

template <uint32_t CENTRE>
struct Five {
    FourBits low;
    FifthBits high;

    DEVICE static void load_step(Five& f, const Planes& planes, Place p, uint32_t lane,
                                 uint32_t step) {
        FourBits::load_step(f.low, planes, p, lane, step);
        FifthBits::load_step(f.high, planes, p, lane, step);
    }
    DEVICE static void pairs(const Five& f, uint32_t half, uint32_t c, uint32_t out[4]) {
#pragma unroll
        for (uint32_t j = 0; j < 4; ++j) {
            uint32_t code = FourBits::pair(f.low, half, c, j) | FifthBits::pair(f.high, half, c, j);
            out[j] = to_bf16<CENTRE>(code);
        }
    }
};

// Signed bytes. Two words for each lane, half and chunk, each with the columns 0, 2, 1, 3 of four:
// its even bytes are one pair, its odd ones the other. `[tile][group][half][step][lane][16]`.
//
// A byte is its lower seven bits, less 128 if the eighth is set. As bf16, `0x4300 | lower` is 128
// more than the former, and `0x4300 | eighth` is 128 or 256: their difference is the byte.
struct Eight {
    uint4 bytes[2][STEPS];

    DEVICE static void load_step(Eight& f, const Planes& planes, Place p, uint32_t lane,
                                 uint32_t step) {
        const uint8_t* from = planes.codes + Place::of(p) * 2048 + step * 512 + lane * 16;
        f.bytes[0][step] = load_once(from);
        f.bytes[1][step] = load_once(from + 1024);
    }
    DEVICE static uint32_t pair(uint32_t two) {
        return add_bf16((two & 0x007F007F) | 0x43004300, (two & 0x00800080) | 0xC300C300);
    }
    DEVICE static void pairs(const Eight& f, uint32_t half, uint32_t c, uint32_t out[4]) {
        const uint4& v = f.bytes[half][c / 2];
        uint32_t first = c % 2 ? v.z : v.x, second = c % 2 ? v.w : v.y;
        out[0] = pair(first), out[1] = pair(first >> 8);
        out[2] = pair(second), out[3] = pair(second >> 8);
    }
};

// Q6_K: the upper two bits beside `FourBits`, in a word for each lane, half and step: pair i = 4 *
// (c % 2) + j has its lower column at bits 2i and its upper one 16 above.
// `[tile][group][step][lane][half]` words. Scales: signed bytes, one for each row and 16 columns,
// then the rows' d: `[tile][span]` of `[group][step][g][half][4]` bytes and `[g][half]` f16.
struct Q6K {
    static constexpr bool IS_DENSE = false, HAS_MINIMA = false, IS_SPLIT = true;
    FourBits low;
    uint2 high[STEPS], scales[STEPS];
    uint32_t d[STEPS];  // of both halves

    DEVICE static void load_step(Q6K& f, const Planes& planes, Place p, uint32_t lane,
                                 uint32_t step) {
        FourBits::load_step(f.low, planes, p, lane, step);
        const uint8_t* high = planes.high + Place::of(p) * 512 + step * 256 + lane * 8;
        f.high[step] = *reinterpret_cast<const uint2*>(high);
        const uint8_t* of_span = planes.scales + Place::span(p) * (TILE * 18);
        const uint8_t* scales = of_span + p.group % 2 * 128 + step * 64 + lane / 4 * 8;
        f.scales[step] = *reinterpret_cast<const uint2*>(scales);
        f.d[step] = *reinterpret_cast<const uint32_t*>(of_span + TILE * 16 + lane / 4 * 4);
    }
    DEVICE static void settle_step(Q6K&, uint32_t, uint32_t) {}
    DEVICE static void pairs(const Q6K& f, uint32_t half, uint32_t c, uint32_t out[4]) {
        uint32_t bits = half == 0 ? f.high[c / 2].x : f.high[c / 2].y;
#pragma unroll
        for (uint32_t j = 0; j < 4; ++j) {
            uint32_t at = 2 * (4 * (c % 2) + j);
            uint32_t moved = at >= 4 ? bits >> (at - 4) : bits << (4 - at);
            out[j] = to_bf16<32>(FourBits::pair(f.low, half, c, j) | (moved & 0x00300030));
        }
    }
    // Two scales: of the first and of the second 16 columns of a chunk.
    DEVICE static Affine affine(const Q6K& f, uint32_t half, uint32_t c) {
        return {scale(f, half, c, 0), scale(f, half, c, 1)};
    }
    DEVICE static float scale(const Q6K& f, uint32_t half, uint32_t c, uint32_t part) {
        uint32_t four = half == 0 ? f.scales[c / 2].x : f.scales[c / 2].y;
        uint32_t byte = four >> (8 * (c % 2 * 2 + part)) & 0xFF;
        uint32_t d = half == 0 ? f.d[c / 2] & 0xFFFF : f.d[c / 2] >> 16;
        return f16_to_f32(static_cast<uint16_t>(d)) *
               static_cast<float>(static_cast<int8_t>(byte));
    }
};

using Q4_0 = Symmetric<Four<8>, ChunkScales>;
using Q4_1 = WithMinima<Four<0>, ChunkAffine>;
using Q5_0 = Symmetric<Five<16>, ChunkScales>;
using Q5_1 = WithMinima<Five<0>, ChunkAffine>;
using Q8_0 = Symmetric<Eight, ChunkScales>;
using Q4_K = WithMinima<Four<0>, KScales>;
using Q5_K = WithMinima<Five<0>, KScales>;
using Q6_K = Q6K;
