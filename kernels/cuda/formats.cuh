// How weights lie in device memory, and how a warp turns them into the A fragments of `mma`.
//
// A matrix is cut into tiles of 16 rows and groups of 128 columns, both filled up with zeros. One
// warp takes one group of one tile at a time: each lane gets its part with whole loads of 16 bytes,
// and the 32 lanes' parts lie side by side (one load of a warp is 512 contiguous bytes; a row of
// bf16, which stays as it is for cuBLAS, gives pieces of 64). ggml's blocks of 18, 34 or 210 bytes
// allow neither, so they are taken apart into planes when a model is loaded (`packing.rs`).
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
    DEVICE static size_t of(Place p) { return static_cast<size_t>(p.tile) * p.groups + p.group; }
    // Formats with blocks of 256 columns keep their scales for two groups together.
    DEVICE static size_t span(Place p) {
        return static_cast<size_t>(p.tile) * ((p.groups + 1) / 2) + p.group / 2;
    }
};

// A scale and a minimum: weight = d * code + m.
struct Affine {
    float d, m;
};

// Rows as they are: bf16, `[rows up to a tile][columns up to a group]`.
struct Bf16 {
    static constexpr bool IS_DENSE = true, HAS_MINIMA = false, IS_SPLIT = false;
    uint4 w[2][CHUNKS];  // eight columns of each half and chunk

    DEVICE static void load(Bf16& f, const Planes& planes, Place p, uint32_t lane) {
        size_t stride = static_cast<size_t>(p.groups) * GROUP * 2;
        const uint8_t* row = planes.codes + (p.tile * size_t{TILE} + lane / 4) * stride +
                             p.group * (GROUP * 2) + lane % 4 * 16;
#pragma unroll
        for (uint32_t c = 0; c < CHUNKS; ++c) {
            f.w[0][c] = load_once(row + c * (CHUNK * 2));
            f.w[1][c] = load_once(row + 8 * stride + c * (CHUNK * 2));
        }
    }
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
// shift and one and-or give both as bf16. `[tile][group][half][lane][chunk]` words.
struct FourBits {
    uint4 low[2];

    DEVICE static void load(FourBits& f, const Planes& planes, Place p, uint32_t lane) {
        const uint8_t* from = planes.codes + Place::of(p) * 1024 + lane * 16;
        f.low[0] = load_once(from);
        f.low[1] = load_once(from + 512);
    }
    DEVICE static uint32_t pair(const FourBits& f, uint32_t half, uint32_t c, uint32_t j) {
        return word(f.low[half], c) >> (4 * j) & 0x000F000F;
    }
};

// `codes` (two of less than 128, in the lower bits of each half of a word) less `centre`, as bf16.
template <uint32_t CENTRE>
DEVICE uint32_t to_bf16(uint32_t codes) {
    // -(128 + CENTRE): the mantissa's lowest bit is worth 1.
    constexpr uint32_t minus = 0xC300 | CENTRE;
    return add_bf16(codes | 0x43004300, minus << 16 | minus);
}

// A scale, f16, for each row and chunk: `[tile][group][row][chunk]`.
struct ChunkScales {
    uint2 d[2];

    DEVICE static void load(ChunkScales& f, const Planes& planes, Place p, uint32_t lane) {
        const uint8_t* from = planes.scales + Place::of(p) * (TILE * 8) + lane / 4 * 8;
        f.d[0] = *reinterpret_cast<const uint2*>(from);
        f.d[1] = *reinterpret_cast<const uint2*>(from + 64);
    }
    DEVICE static float scale(const ChunkScales& f, uint32_t half, uint32_t c) {
        uint32_t two = c < 2 ? f.d[half].x : f.d[half].y;
        return f16_to_f32(static_cast<uint16_t>(c % 2 ? two >> 16 : two & 0xFFFF));
    }
};

// The same with a minimum after each scale.
struct ChunkAffine {
    uint4 dm[2];

    DEVICE static void load(ChunkAffine& f, const Planes& planes, Place p, uint32_t lane) {
        const uint8_t* from = planes.scales + Place::of(p) * (TILE * 16) + lane / 4 * 16;
        f.dm[0] = load_once(from);
        f.dm[1] = load_once(from + 128);
    }
    DEVICE static Affine affine(const ChunkAffine& f, uint32_t half, uint32_t c) {
        uint32_t both = word(f.dm[half], c);
        return {f16_to_f32(static_cast<uint16_t>(both & 0xFFFF)),
                f16_to_f32(static_cast<uint16_t>(both >> 16))};
    }
};

// The first 16 bytes of a block of Q4_K or Q5_K as they are: d, dmin, and eight scales and minima
// of six bits. `[tile][span][row]`. Both groups of a span read them; the second time from L2.
struct KScales {
    uint32_t d_dmin[2], sc[2], mn[2];  // of this group's four chunks, a byte each

    DEVICE static void load(KScales& f, const Planes& planes, Place p, uint32_t lane) {
        const uint8_t* from = planes.scales + Place::span(p) * (TILE * 16) + lane / 4 * 16;
#pragma unroll
        for (uint32_t half = 0; half < 2; ++half) {
            uint4 v = load_once(from + half * 128);
            f.d_dmin[half] = v.x;
            // ggml's `get_scale_min_k4`, four at a time.
            bool is_first = p.group % 2 == 0;
            f.sc[half] = is_first ? v.y & 0x3F3F3F3F
                                  : (v.w & 0x0F0F0F0F) | (v.y >> 2 & 0x30303030);
            f.mn[half] = is_first ? v.z & 0x3F3F3F3F
                                  : (v.w >> 4 & 0x0F0F0F0F) | (v.z >> 2 & 0x30303030);
        }
    }
    DEVICE static Affine affine(const KScales& f, uint32_t half, uint32_t c) {
        float d = f16_to_f32(static_cast<uint16_t>(f.d_dmin[half] & 0xFFFF));
        float dmin = f16_to_f32(static_cast<uint16_t>(f.d_dmin[half] >> 16));
        float sc = static_cast<float>(f.sc[half] >> (8 * c) & 0xFF);
        float mn = static_cast<float>(f.mn[half] >> (8 * c) & 0xFF);
        return {d * sc, -(dmin * mn)};
    }
};

// The fifth bits of a lane's 32 codes of a group: pair j of chunk c has its lower column at bit
// 4c + j and its upper one 16 above. `[tile][group][half][lane]` words.
struct FifthBits {
    uint32_t bits[2];

    DEVICE static void load(FifthBits& f, const Planes& planes, Place p, uint32_t lane) {
        const uint8_t* from = planes.high + Place::of(p) * 256 + lane * 4;
        f.bits[0] = *reinterpret_cast<const uint32_t*>(from);
        f.bits[1] = *reinterpret_cast<const uint32_t*>(from + 128);
    }
    DEVICE static uint32_t pair(const FifthBits& f, uint32_t half, uint32_t c, uint32_t j) {
        uint32_t at = 4 * c + j;
        uint32_t moved = at >= 4 ? f.bits[half] >> (at - 4) : f.bits[half] << (4 - at);
        return moved & 0x00100010;
    }
};

template <class Codes, class Scales>
struct Symmetric {
    static constexpr bool IS_DENSE = false, HAS_MINIMA = false, IS_SPLIT = false;
    Codes codes;
    Scales scales;

    DEVICE static void load(Symmetric& f, const Planes& planes, Place p, uint32_t lane) {
        Codes::load(f.codes, planes, p, lane);
        Scales::load(f.scales, planes, p, lane);
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

    DEVICE static void load(WithMinima& f, const Planes& planes, Place p, uint32_t lane) {
        Codes::load(f.codes, planes, p, lane);
        Scales::load(f.scales, planes, p, lane);
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

    DEVICE static void load(Four& f, const Planes& planes, Place p, uint32_t lane) {
        FourBits::load(f.low, planes, p, lane);
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

    DEVICE static void load(Five& f, const Planes& planes, Place p, uint32_t lane) {
        FourBits::load(f.low, planes, p, lane);
        FifthBits::load(f.high, planes, p, lane);
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
// its even bytes are one pair, its odd ones the other. `[tile][group][half][chunk / 2][lane][16]`.
//
// A byte is its lower seven bits, less 128 if the eighth is set. As bf16, `0x4300 | lower` is 128
// more than the former, and `0x4300 | eighth` is 128 or 256: their difference is the byte.
struct Eight {
    uint4 bytes[2][2];

    DEVICE static void load(Eight& f, const Planes& planes, Place p, uint32_t lane) {
        const uint8_t* from = planes.codes + Place::of(p) * 2048 + lane * 16;
#pragma unroll
        for (uint32_t i = 0; i < 4; ++i) f.bytes[i / 2][i % 2] = load_once(from + i * 512);
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

// Q6_K: the upper two bits beside `FourBits`, in two words for each lane and half: pair i = 4 *
// (c % 2) + j of word c / 2 has its lower column at bits 2i and its upper one 16 above.
// `[tile][group][half][lane]` pairs of words. Scales: for each row of a tile and span 16 signed
// bytes, one for each 16 columns, then the rows' d: `[tile][span]` of 256 + 32 bytes.
struct Q6K {
    static constexpr bool IS_DENSE = false, HAS_MINIMA = false, IS_SPLIT = true;
    FourBits low;
    uint2 high[2], scales[2];
    uint16_t d[2];

    DEVICE static void load(Q6K& f, const Planes& planes, Place p, uint32_t lane) {
        FourBits::load(f.low, planes, p, lane);
        const uint8_t* high = planes.high + Place::of(p) * 512 + lane * 8;
        const uint8_t* scales = planes.scales + Place::span(p) * (TILE * 18);
#pragma unroll
        for (uint32_t half = 0; half < 2; ++half) {
            uint32_t row = lane / 4 + 8 * half;
            f.high[half] = *reinterpret_cast<const uint2*>(high + half * 256);
            const uint8_t* of_row = scales + row * 16 + p.group % 2 * 8;
            f.scales[half] = *reinterpret_cast<const uint2*>(of_row);
            f.d[half] = *reinterpret_cast<const uint16_t*>(scales + TILE * 16 + row * 2);
        }
    }
    DEVICE static void pairs(const Q6K& f, uint32_t half, uint32_t c, uint32_t out[4]) {
        uint32_t bits = c < 2 ? f.high[half].x : f.high[half].y;
#pragma unroll
        for (uint32_t j = 0; j < 4; ++j) {
            uint32_t at = 2 * (4 * (c % 2) + j);
            uint32_t moved = at >= 4 ? bits >> (at - 4) : bits << (4 - at);
            out[j] = to_bf16<32>(FourBits::pair(f.low, half, c, j) | (moved & 0x00300030));
        }
    }
    // Of the first and the second 16 columns of a chunk.
    DEVICE static float scale(const Q6K& f, uint32_t half, uint32_t c, uint32_t part) {
        uint32_t four = c < 2 ? f.scales[half].x : f.scales[half].y;
        uint32_t byte = four >> (8 * (c % 2 * 2 + part)) & 0xFF;
        return f16_to_f32(f.d[half]) * static_cast<float>(static_cast<int8_t>(byte));
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
