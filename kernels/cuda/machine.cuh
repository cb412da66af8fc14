// The few operations of the machine that the kernels are built from, as inline functions.
//
// Two implementations of one list: PTX for NVIDIA GPUs (compute capability 8.0 and up), and, when a
// C++ compiler reads this instead of nvcc, `emulation/machine.hpp`, which does the same on a CPU,
// one thread at a time. Kernels use nothing of CUDA but this list, `__shared__`, the built-in
// indices, barriers and shuffles; so their indexing is tested on machines without a GPU.
#pragma once

#include <stdint.h>

#ifdef __CUDACC__

#define DEVICE __device__ __forceinline__

// Weights are read once a step: past L1, and without displacing the activations there.
DEVICE uint4 load_once(const void* from) {
    uint4 v;
    asm("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
        : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
        : "l"(from));
    return v;
}

// What another block of this launch has written: from L2.
DEVICE float load_shared_result(const float* from) { return __ldcg(from); }

// 16 bytes from global to shared memory, past registers and L1; zeros, and nothing is read, if not
// `is_there`. Until the thread has waited for the group of its copies what is at `to` is anything,
// and for the block's other threads until a barrier after that.
DEVICE void copy_async16(void* to, const void* from, bool is_there) {
    uint32_t address = static_cast<uint32_t>(__cvta_generic_to_shared(to));
    uint32_t bytes = is_there ? 16 : 0;
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
                 :
                 : "r"(address), "l"(from), "r"(bytes)
                 : "memory");
}

// Ends a group: the thread's copies since the last one.
DEVICE void end_copies() { asm volatile("cp.async.commit_group;" : : : "memory"); }

// Waits for all of the thread's groups but the last `PENDING`.
template <int PENDING>
DEVICE void wait_for_copies() {
    asm volatile("cp.async.wait_group %0;" : : "n"(PENDING) : "memory");
}

// A launch may begin while the one before it ends (the host asks for that): its blocks come as soon
// as all blocks of that one have called the first of these, or ended, and there is room. They wait
// in the second for its end, and so for everything queued before; until then they may read what no
// launch writes, which is weights and parameters. Every thread of every kernel waits. And nothing
// else than weights is read past L1's coherence (`load_once`): it may be written after the launch
// that reads it has begun. (PTX ISA, griddepcontrol; CUDA C++ Programming Guide, "Programmatic
// Dependent Launch".)
DEVICE void let_next_begin() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;");
#endif
}

DEVICE void wait_for_previous() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" : : : "memory");
#endif
}

// c[16 rows, 8 columns] += a[16, 16] * b[16, 8], in one warp. With g = lane / 4, t = lane % 4, a
// lane holds (each register two bf16, the lower one in the lower half):
//   a0: row g,     k = 2t, 2t+1      a2: row g,     k = 2t+8, 2t+9     b0: k = 2t, 2t+1;   column g
//   a1: row g + 8, k = 2t, 2t+1      a3: row g + 8, k = 2t+8, 2t+9     b1: k = 2t+8, 2t+9; column g
//   c0, c1: row g, columns 2t, 2t+1  c2, c3: row g + 8, columns 2t, 2t+1
DEVICE void mma(float c[4], uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3, uint32_t b0,
                uint32_t b1) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}

// Two f32 rounded to bf16 (nearest, ties to even), `low` in the lower half.
DEVICE uint32_t pack_bf16(float low, float high) {
    uint32_t both;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(high), "f"(low));
    return both;
}

// Sums of two pairs of bf16. A product with 1 and a sum, because sm_80 has no such addition.
DEVICE uint32_t add_bf16(uint32_t a, uint32_t b) {
    uint32_t sum;
    asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(sum) : "r"(a), "r"(0x3F803F80u), "r"(b));
    return sum;
}

// Products of two pairs of bf16. With a sum with -0, because sm_80 has no such product.
DEVICE uint32_t multiply_bf16(uint32_t a, uint32_t b) {
    uint32_t product;
    asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(product) : "r"(a), "r"(b), "r"(0x80008000u));
    return product;
}

DEVICE float f16_to_f32(uint16_t bits) {
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
    return value;
}

#else

#include "emulation/machine.hpp"

#endif

// What follows is the same on both.

// The beginning of a kernel that reads no weights before.
DEVICE void follow() {
    let_next_begin();
    wait_for_previous();
}

DEVICE float bf16_to_f32(uint16_t bits) {
    return __uint_as_float(static_cast<uint32_t>(bits) << 16);
}

DEVICE uint16_t f32_to_bf16(float value) {
    return static_cast<uint16_t>(pack_bf16(value, 0.0f) & 0xFFFF);
}

DEVICE uint4 zeros() { return make_uint4(0, 0, 0, 0); }

// The sum over all lanes of a warp, in every lane, in an order that depends on nothing.
DEVICE float warp_sum(float value) {
    for (int step = 16; step > 0; step /= 2) value += __shfl_xor_sync(0xFFFFFFFFu, value, step);
    return value;
}

// The sum over a block of `WARPS` warps, in every thread. `room` is shared memory of `WARPS` floats
// that no thread reads before the next barrier but through this.
template <int WARPS>
DEVICE float block_sum(float value, float* room) {
    value = warp_sum(value);
    __syncthreads();  // Whoever still reads `room` from the last time.
    if (threadIdx.x % 32 == 0) room[threadIdx.x / 32] = value;
    __syncthreads();
    float sum = 0.0f;
    for (int warp = 0; warp < WARPS; ++warp) sum += room[warp];
    return sum;
}
