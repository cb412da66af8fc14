// All kernels, compiled for the CPU, and what runs a launch of one of them (`machine.hpp`).
#include <stdint.h>
#include <stdlib.h>

#include "../product.cu"
#include "../product_wide.cu"
#include "../dense.cu"
#include "../rows.cu"
#include "../heads.cu"
#include "../attention.cu"
#include "../prefill.cu"
#include "../sampling.cu"

namespace emulation {

Machine machine;

namespace {

constexpr size_t STACK_BYTES = 128 << 10;

struct Kernel {
    const char* name;
    void (*run)(const void*);
    size_t parameter_bytes;
};

#define KERNEL(name, Parameters)                                                             \
    {#name, [](const void* p) { name(*static_cast<const Parameters*>(p)); }, sizeof(Parameters)}
#define PRODUCTS(type)                                                                       \
    KERNEL(product_##type##_8, Product), KERNEL(product_##type##_32, Product),               \
        KERNEL(product_##type##_128x64, Product), KERNEL(product_##type##_256x64, Product)
#define EXPAND_KERNEL(type) KERNEL(expand_##type, Expand)
#define ATTENTION_KERNELS(dim)                                                               \
    KERNEL(attention_##dim, Attention), KERNEL(attention_##dim##_fp8, Attention),            \
        KERNEL(prefill_##dim, Prefill), KERNEL(prefill_##dim##_fp8, Prefill)

const Kernel KERNELS[] = {
    PRODUCTS(bf16), PRODUCTS(q4_0), PRODUCTS(q4_1), PRODUCTS(q5_0), PRODUCTS(q5_1),
    PRODUCTS(q8_0), PRODUCTS(q4_k), PRODUCTS(q5_k), PRODUCTS(q6_k),
    EXPAND_KERNEL(q4_0), EXPAND_KERNEL(q4_1), EXPAND_KERNEL(q5_0), EXPAND_KERNEL(q5_1),
    EXPAND_KERNEL(q8_0), EXPAND_KERNEL(q4_k), EXPAND_KERNEL(q5_k), EXPAND_KERNEL(q6_k),
    KERNEL(conclude_sums, Conclude),
    KERNEL(feed, Feed), KERNEL(embed, Embed), KERNEL(add_normed, AddNormed), KERNEL(normed, Normed),
    KERNEL(unpack, Unpack), KERNEL(project_heads, Heads), KERNEL(project_heads_fp8, Heads),
    ATTENTION_KERNELS(64), ATTENTION_KERNELS(128), ATTENTION_KERNELS(256), KERNEL(sample, Sample),
};

void fibre_main() {
    machine.kernel(machine.parameters);
    machine.current->is_done = true;
    if (machine.current->num_copies && !machine.fault) {
        machine.fault = "a copy that its thread never waits for";
    }
    if (!machine.current->has_waited && !machine.fault) {
        machine.fault = "a thread that does not wait for the launch before";
    }
    ++machine.events;
    _longjmp(machine.scheduler, 1);
}

// Lets a fibre run until it gives way or ends.
void resume(Fibre& fibre) {
    machine.current = &fibre;
    if (_setjmp(machine.scheduler) != 0) return;
    if (fibre.is_started) _longjmp(fibre.state, 1);
    fibre.is_started = true;
    getcontext(&fibre.start);
    fibre.start.uc_stack.ss_sp = fibre.stack;
    fibre.start.uc_stack.ss_size = STACK_BYTES;
    fibre.start.uc_link = nullptr;
    makecontext(&fibre.start, fibre_main, 0);
    setcontext(&fibre.start);
}

// Lets a warp run until all of its threads have ended or wait for other warps, before any of those
// gets a turn: as unfair as can be, so that what needs a barrier fails without one. Returns how
// many have ended.
unsigned run_warp(unsigned warp, bool is_backwards) {
    unsigned events, ended = 0;
    do {
        events = machine.events;
        for (unsigned n = 0; n < LANES && !machine.fault; ++n) {
            Fibre& fibre = machine.fibres[warp * LANES + (is_backwards ? LANES - 1 - n : n)];
            if (fibre.is_done) continue;
            resume(fibre);
            ended += fibre.is_done;
        }
    } while (machine.events != events && !machine.fault);
    return ended;
}

void run_block(bool is_backwards) {
    unsigned count = machine.num_threads;
    machine.block_phase = machine.block_arrived = 0;
    for (unsigned i = 0; i < count; ++i) {
        Fibre& fibre = machine.fibres[i];
        fibre.thread = {i, 0, 0};
        fibre.is_started = fibre.is_done = fibre.has_waited = false;
        fibre.num_copies = fibre.copy_group = 0;
        if (!fibre.stack) fibre.stack = malloc(STACK_BYTES);
        if (!fibre.stack) machine.fault = "no memory for a thread's stack";
    }
    memset(machine.warps, 0, sizeof(machine.warps));
    unsigned warps = count / LANES, done = 0;
    while (done < count && !machine.fault) {
        unsigned events = machine.events;
        for (unsigned n = 0; n < warps; ++n) {
            done += run_warp(is_backwards ? warps - 1 - n : n, is_backwards);
        }
        if (machine.events == events) {
            machine.fault = "a barrier or shuffle that some threads never reach";
        }
    }
}

}  // namespace
}  // namespace emulation

// Runs a launch to its end. Blocks and threads take turns from the first on, or backwards from the
// last. Returns null, or what went wrong.
extern "C" const char* emulate(const char* name, const uint32_t grid[2], uint32_t threads,
                               const void* parameters, size_t parameter_bytes,
                               uint32_t is_backwards) {
    using namespace emulation;
    const Kernel* kernel = nullptr;
    for (const Kernel& candidate : KERNELS) {
        if (strcmp(candidate.name, name) == 0) kernel = &candidate;
    }
    if (!kernel) return "no kernel of this name";
    if (kernel->parameter_bytes != parameter_bytes) return "parameters of another size";
    if (threads == 0 || threads > MAX_THREADS || threads % LANES) return "no whole warps";
    machine.kernel = kernel->run;
    machine.parameters = parameters;
    machine.grid = {grid[0], grid[1], 1};
    machine.threads = {threads, 1, 1};
    machine.num_threads = threads;
    machine.fault = nullptr;
    uint64_t blocks = uint64_t{grid[0]} * grid[1];
    for (uint64_t n = 0; n < blocks && !machine.fault; ++n) {
        uint64_t block = is_backwards ? blocks - 1 - n : n;
        machine.block = {uint32_t(block % grid[0]), uint32_t(block / grid[0]), 0};
        run_block(is_backwards != 0);
    }
    return machine.fault;
}
