// The machine of `machine.cuh` on a CPU, for tests: one block at a time, one fibre for each thread.
//
// A fibre runs until it meets something that needs others: a block's barrier, or an operation of
// its warp (shuffle, mma). There it gives way, and goes on when all that take part have come. So
// every instruction of a kernel is executed by each of its threads, with its own indices and
// registers, and the exchange between lanes follows the PTX manual's tables, not the kernel's idea
// of them.
//
// What this catches: wrong indices, wrong fragments, missing barriers (a warp runs as far ahead of
// the others as barriers allow, in two runs in opposite orders, whose results must be equal),
// barriers and shuffles that some threads do not reach, copies that nobody has waited for (until
// then what they fill is NaN), reading or writing outside of buffers (their surroundings are NaN).
// What it cannot: what nvcc makes of the source, ordering of memory between blocks that run at
// once, and speed.
//
// Fibres are made with `makecontext` and switched with `_setjmp`, which asks the kernel for
// nothing.
#pragma once

#include <math.h>
#include <setjmp.h>
#include <stddef.h>
#include <string.h>
#include <ucontext.h>

#define DEVICE inline
#define __device__
#define __global__
#define __forceinline__
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))
#define __grid_constant__
// Blocks run one after the other, and no kernel keeps anything here from block to block.
#define __shared__ static

struct uint2 {
    uint32_t x, y;
};
struct alignas(16) uint4 {
    uint32_t x, y, z, w;
};
struct float2 {
    float x, y;
};
DEVICE uint2 make_uint2(uint32_t x, uint32_t y) { return {x, y}; }
DEVICE uint4 make_uint4(uint32_t x, uint32_t y, uint32_t z, uint32_t w) { return {x, y, z, w}; }
DEVICE float2 make_float2(float x, float y) { return {x, y}; }

struct Index {
    unsigned x, y, z;
};

namespace emulation {

constexpr int LANES = 32;
constexpr int MAX_THREADS = 1024;

// What a lane brings to an operation of its warp.
struct Offer {
    uint32_t words[6];
};

// A copy to shared memory under way, in the thread's group of this number.
struct Copy {
    void* to;
    const void* from;  // null: zeros
    unsigned group;
};

constexpr unsigned MAX_COPIES = 64;

struct Fibre {
    Copy copies[MAX_COPIES];
    unsigned num_copies, copy_group;
    Index thread;
    jmp_buf state;
    ucontext_t start;
    void* stack;
    bool is_started, is_done, has_waited;
};

struct Warp {
    unsigned phase, arrived;
    Offer offers[LANES];
};

struct Machine {
    Fibre fibres[MAX_THREADS];
    Warp warps[MAX_THREADS / LANES];
    Index block, grid, threads;
    unsigned num_threads, block_phase, block_arrived;
    unsigned events;  // arrivals and ends: without one in a whole round, nothing will ever move
    Fibre* current;
    jmp_buf scheduler;
    const char* fault;  // The first thing that went wrong; the launch ends with it.
    void (*kernel)(const void*);
    const void* parameters;
};

extern Machine machine;

// Back to the scheduler; returns when it is this fibre's turn again.
inline void give_way() {
    Fibre* me = machine.current;
    if (_setjmp(me->state) == 0) _longjmp(machine.scheduler, 1);
}

// All threads of the block. One that has returned never comes, which the scheduler finds as a block
// that makes no progress: stricter than a GPU, and kernels here keep to it.
inline void block_barrier() {
    unsigned phase = machine.block_phase;
    ++machine.events;
    if (++machine.block_arrived == machine.num_threads) {
        machine.block_arrived = 0;
        ++machine.block_phase;
    }
    while (machine.block_phase == phase) give_way();
}

// Every lane's offer, once all have come.
inline const Offer* exchange(const Offer& offer) {
    unsigned index = machine.current->thread.x;
    Warp& warp = machine.warps[index / LANES];
    unsigned phase = warp.phase;
    warp.offers[index % LANES] = offer;
    ++machine.events;
    if (++warp.arrived == LANES) {
        warp.arrived = 0;
        ++warp.phase;
    }
    while (warp.phase == phase) give_way();
    return warp.offers;
}

template <class T>
inline T shuffle(T value, unsigned from) {
    static_assert(sizeof(T) == 4, "words of 32 bits");
    Offer offer = {};
    memcpy(offer.words, &value, 4);
    const Offer* offers = exchange(offer);
    T result;
    memcpy(&result, offers[from % LANES].words, 4);
    exchange(offer);  // Until every lane has read.
    return result;
}

template <class F>
inline uint32_t reduce(uint32_t value, F join) {
    Offer offer = {{value}};
    const Offer* offers = exchange(offer);
    uint32_t result = offers[0].words[0];
    for (int lane = 1; lane < LANES; ++lane) result = join(result, offers[lane].words[0]);
    exchange(offer);  // Until every lane has read.
    return result;
}

inline unsigned lane() { return machine.current->thread.x % LANES; }

inline void need_full(uint32_t mask) {
    if (mask != 0xFFFFFFFFu && !machine.fault) machine.fault = "a shuffle of a part of a warp";
}

}  // namespace emulation

#define threadIdx (emulation::machine.current->thread)
#define blockIdx (emulation::machine.block)
#define gridDim (emulation::machine.grid)
#define blockDim (emulation::machine.threads)

DEVICE void __syncthreads() { emulation::block_barrier(); }

DEVICE void __syncwarp() {
    emulation::shuffle(0u, 0);
}

template <class T>
DEVICE T __shfl_xor_sync(uint32_t mask, T value, int bits) {
    emulation::need_full(mask);
    return emulation::shuffle(value, emulation::lane() ^ static_cast<unsigned>(bits));
}

template <class T>
DEVICE T __shfl_sync(uint32_t mask, T value, int lane) {
    emulation::need_full(mask);
    return emulation::shuffle(value, static_cast<unsigned>(lane));
}

DEVICE uint32_t __reduce_add_sync(uint32_t mask, uint32_t value) {
    emulation::need_full(mask);
    return emulation::reduce(value, [](uint32_t a, uint32_t b) { return a + b; });
}

DEVICE uint32_t __reduce_max_sync(uint32_t mask, uint32_t value) {
    emulation::need_full(mask);
    return emulation::reduce(value, [](uint32_t a, uint32_t b) { return a > b ? a : b; });
}

DEVICE void __threadfence() {}

// Launches here come one after the other; but on a GPU a thread that does not wait may be too early.
DEVICE void let_next_begin() {}
DEVICE void wait_for_previous() { emulation::machine.current->has_waited = true; }

DEVICE uint32_t atomicAdd(uint32_t* at, uint32_t more) {
    uint32_t before = *at;
    *at += more;
    return before;
}

DEVICE float __uint_as_float(uint32_t bits) {
    float value;
    memcpy(&value, &bits, 4);
    return value;
}

DEVICE uint32_t __float_as_uint(float value) {
    uint32_t bits;
    memcpy(&bits, &value, 4);
    return bits;
}

// The bytes of {a, b} (a's are 0 to 3) that the digits of `selector` name, the lowest first.
DEVICE uint32_t __byte_perm(uint32_t a, uint32_t b, uint32_t selector) {
    uint64_t both = static_cast<uint64_t>(b) << 32 | a;
    uint32_t result = 0;
    for (int i = 0; i < 4; ++i) {
        uint32_t byte = selector >> (4 * i) & 7;
        result |= static_cast<uint32_t>(both >> (8 * byte) & 0xFF) << (8 * i);
    }
    return result;
}

DEVICE int __clzll(uint64_t value) { return value ? __builtin_clzll(value) : 64; }

// Rounded one by one: the emulator is compiled without contractions, too.
DEVICE float __fadd_rn(float a, float b) { return a + b; }
DEVICE float __fsub_rn(float a, float b) { return a - b; }
DEVICE float __fmul_rn(float a, float b) { return a * b; }
DEVICE float __fdiv_rn(float a, float b) { return a / b; }
DEVICE uint64_t __float2ull_rn(float x) { return static_cast<uint64_t>(rintf(x)); }

DEVICE float __expf(float x) { return expf(x); }
DEVICE float rsqrtf(float x) { return 1.0f / sqrtf(x); }
DEVICE float __fdividef(float a, float b) { return a / b; }

// 16 bytes at an address that must be a multiple of 16, as on the GPU.
DEVICE uint4 load_once(const void* from) {
    if (reinterpret_cast<uintptr_t>(from) % 16 != 0 && !emulation::machine.fault) {
        emulation::machine.fault = "16 bytes from an address that is no multiple of 16";
    }
    uint4 value;
    memcpy(&value, from, 16);
    return value;
}

// It happens when it is waited for, as late as it may; and destroys what was there at once.
DEVICE void copy_async16(void* to, const void* from, bool is_there) {
    using namespace emulation;
    Fibre& fibre = *machine.current;
    uintptr_t both = reinterpret_cast<uintptr_t>(to) | reinterpret_cast<uintptr_t>(from);
    if (both % 16 != 0 || fibre.num_copies == MAX_COPIES) {
        if (!machine.fault) machine.fault = "a copy not aligned to 16 bytes, or too many at once";
        return;
    }
    memset(to, 0xFF, 16);
    fibre.copies[fibre.num_copies++] = {to, is_there ? from : nullptr, fibre.copy_group};
}

DEVICE void end_copies() { ++emulation::machine.current->copy_group; }

template <int PENDING>
DEVICE void wait_for_copies() {
    emulation::Fibre& fibre = *emulation::machine.current;
    unsigned left = 0;
    for (unsigned i = 0; i < fibre.num_copies; ++i) {
        emulation::Copy copy = fibre.copies[i];
        if (copy.group + PENDING >= fibre.copy_group) {
            fibre.copies[left++] = copy;
        } else if (copy.from) {
            memcpy(copy.to, copy.from, 16);
        } else {
            memset(copy.to, 0, 16);
        }
    }
    fibre.num_copies = left;
}

DEVICE float load_shared_result(const float* from) { return *from; }

DEVICE uint32_t bf16_bits(float value) {
    uint32_t bits = __float_as_uint(value);
    if ((bits & 0x7FFFFFFF) > 0x7F800000) return 0x7FFF;
    return (bits + 0x7FFF + (bits >> 16 & 1)) >> 16;
}

DEVICE uint32_t pack_bf16(float low, float high) { return bf16_bits(high) << 16 | bf16_bits(low); }

DEVICE uint32_t add_bf16(uint32_t a, uint32_t b) {
    float low = __uint_as_float(a << 16) + __uint_as_float(b << 16);
    float high = __uint_as_float(a & 0xFFFF0000) + __uint_as_float(b & 0xFFFF0000);
    return pack_bf16(low, high);
}

DEVICE uint32_t multiply_bf16(uint32_t a, uint32_t b) {
    float low = __uint_as_float(a << 16) * __uint_as_float(b << 16);
    float high = __uint_as_float(a & 0xFFFF0000) * __uint_as_float(b & 0xFFFF0000);
    return pack_bf16(low, high);
}

DEVICE float f16_to_f32(uint16_t bits) {
    uint32_t sign = static_cast<uint32_t>(bits & 0x8000) << 16, exponent = bits >> 10 & 31;
    uint32_t fraction = bits & 0x3FF;
    if (exponent == 31) return __uint_as_float(sign | 0x7F800000 | fraction << 13);
    float size = exponent == 0 ? ldexpf(static_cast<float>(fraction), -24)
                               : ldexpf(static_cast<float>(fraction | 0x400), int(exponent) - 25);
    return sign ? -size : size;
}

// PTX ISA, "Matrix Fragments for mma.m16n8k16", written as the whole product and then shared out,
// not as what one lane contributes.
DEVICE void mma(float c[4], uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3, uint32_t b0,
                uint32_t b1) {
    emulation::Offer offer = {{a0, a1, a2, a3, b0, b1}};
    const emulation::Offer* offers = emulation::exchange(offer);
    // Element (row, k) of A: in its lane, register (row / 8) + 2 * (k / 8), half k % 2.
    auto a = [&](int row, int k) {
        uint32_t word = offers[row % 8 * 4 + k % 8 / 2].words[row / 8 + 2 * (k / 8)];
        return __uint_as_float(k % 2 ? word & 0xFFFF0000 : word << 16);
    };
    auto b = [&](int k, int column) {
        uint32_t word = offers[column * 4 + k % 8 / 2].words[4 + k / 8];
        return __uint_as_float(k % 2 ? word & 0xFFFF0000 : word << 16);
    };
    int lane = static_cast<int>(emulation::lane()), group = lane / 4, t = lane % 4;
    for (int i = 0; i < 4; ++i) {
        int row = group + i / 2 * 8, column = 2 * t + i % 2;
        double sum = c[i];
        for (int k = 0; k < 16; ++k) sum += static_cast<double>(a(row, k)) * b(k, column);
        c[i] = static_cast<float>(sum);
    }
    emulation::exchange(offer);  // Until every lane has read.
}
