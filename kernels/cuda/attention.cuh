// What both kinds of attention are made of: of single rows (`attention.cu`), of many rows of a
// sequence (`prefill.cu`).
#pragma once

#include "machine.cuh"

constexpr uint32_t KV_BLOCK = 16;  // positions
constexpr float NOTHING = -1e30f;  // below every score, and still finite

DEVICE float weight_at(float score, float highest) {
    return score <= NOTHING ? 0.0f : __expf(score - highest);
}

DEVICE uint4 read16(const uint16_t* from) { return *reinterpret_cast<const uint4*>(from); }

DEVICE uint32_t nth_word(const uint4& v, uint32_t i) {
    return i == 0 ? v.x : i == 1 ? v.y : i == 2 ? v.z : v.w;
}
