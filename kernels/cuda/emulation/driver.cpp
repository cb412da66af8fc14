// NVIDIA's driver on a CPU, for tests: a `libcuda.so.1` that runs launches on the emulator. What the
// emulator alone leaves out is what stands between it and a GPU: `CandleGpu`, candle's device and
// cudarc. With this in front of the linker (`.ci/cuda-driver.sh`) the same tests run through them.
//
// Of the driver it has what they ask for; anything else is an error that names the function. It is
// as late as a driver may be: what is queued on a stream runs when somebody waits for it, so memory
// of the host that is used again too early holds the wrong bytes. And it is stricter than one:
// capturing allows nothing but launches, of functions that have run before. Blocks and threads take
// turns forwards in one launch and backwards in the next.
//
// CUDA Driver API reference, 13.0; the numbers are those of cuda.h.
#include "emulator.cpp"

#include <stdio.h>

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace driver {

enum Result : int {
    SUCCESS = 0,
    INVALID_VALUE = 1,
    OUT_OF_MEMORY = 2,
    INVALID_DEVICE = 101,
    INVALID_IMAGE = 200,
    INVALID_CONTEXT = 201,
    INVALID_HANDLE = 400,
    NOT_FOUND = 500,
    NOT_READY = 600,
    LAUNCH_FAILED = 719,
    NOT_SUPPORTED = 801,
    CAPTURE_UNSUPPORTED = 900,
    CAPTURE_INVALIDATED = 901,
};

constexpr size_t TOTAL_MEMORY = size_t{1} << 30;
constexpr size_t FENCE = 4096;
constexpr uint8_t POISON = 0xFF;  // Two of them are a bf16, four a float that is no number.
constexpr uint32_t FATBIN_MAGIC = 0xBA55ED50;

using Address = uint64_t;
// Something queued; returns null, or what went wrong.
using Work = std::function<const char*()>;

struct Function {
    const emulation::Kernel* kernel;
    bool has_run;
    int dynamic_shared_bytes;  // that it may be launched with
};

struct Stream;

// Programmatic stream serialization. Here every launch ends before the next begins; that each
// thread waits for the one before is seen by the emulator.
constexpr int OVERLAPS = 6;

struct LaunchAttribute {
    int id;
    char padding[4];
    int value;
    char rest[60];
};

struct LaunchConfig {
    unsigned grid[3], threads[3], shared_bytes;
    Stream* stream;
    const LaunchAttribute* attributes;
    unsigned num_attributes;
};

struct Capture {
    std::vector<Work> launches;
    bool is_valid = true;
};

struct Stream {
    std::deque<Work> queue;
    std::unique_ptr<Capture> capture;
};

struct Event {
    unsigned pending = 0;  // recordings that have not come
    Stream* stream = nullptr;
};

struct Graph {
    std::vector<Work> launches;
};

// Memory by where it begins, with fences around it.
struct Piece {
    size_t bytes;
    std::vector<uint8_t> all;
};
using Pieces = std::map<Address, Piece>;

struct Driver {
    std::recursive_mutex lock;
    Pieces memory, pinned;
    std::map<std::string, Function> functions;
    size_t used = 0;
    uint32_t launches = 0;
    std::string fault;  // The first; from then on everything fails, as on a GPU.
};

// Never destroyed: who still has memory at the end gives it back after this library's own end.
Driver& state = *new Driver;

int context;  // The one there is, by its address.
thread_local void* current = nullptr;
thread_local Stream* capturing = nullptr;

Result fail(Result result, const char* function, const char* why) {
    fprintf(stderr, "%s: %s\n", function, why);
    return result;
}

Result broken(const char* why) {
    if (state.fault.empty()) state.fault = why;
    return fail(LAUNCH_FAILED, "emulated driver", state.fault.c_str());
}

void* pointer(Address at) { return reinterpret_cast<void*>(at); }

Address allocate(Pieces& pieces, size_t bytes) {
    std::vector<uint8_t> all(FENCE + 256 + bytes + FENCE, POISON);
    Address begin = (reinterpret_cast<Address>(all.data()) + FENCE + 255) / 256 * 256;
    pieces.emplace(begin, Piece{bytes, std::move(all)});
    return begin;
}

// False if somebody wrote around it.
bool release(Pieces& pieces, Address at) {
    Piece piece = std::move(pieces.at(at));
    pieces.erase(at);
    size_t before = at - reinterpret_cast<Address>(piece.all.data());
    bool is_whole = true;
    for (size_t i = 0; i < piece.all.size(); ++i) {
        bool is_fence = i < before || i >= before + piece.bytes;
        is_whole &= !is_fence || piece.all[i] == POISON;
    }
    return is_whole;
}

// Whether all of these bytes are in one piece.
bool holds(const Pieces& pieces, Address at, size_t bytes) {
    auto after = pieces.upper_bound(at);
    if (after == pieces.begin()) return false;
    auto& [begin, piece] = *--after;
    return at + bytes <= begin + piece.bytes;
}

bool is_device(Address at, size_t bytes) { return holds(state.memory, at, bytes); }

bool is_pinned(const void* at, size_t bytes) {
    return holds(state.pinned, reinterpret_cast<Address>(at), bytes);
}

// Runs what is queued before `enough` says so, or all of it.
Result run(Stream* stream, const std::function<bool()>& enough) {
    while (!stream->queue.empty() && !enough()) {
        Work work = std::move(stream->queue.front());
        stream->queue.pop_front();
        if (const char* why = work()) return broken(why);
    }
    return SUCCESS;
}

Result run_all(Stream* stream) {
    return run(stream, [] { return false; });
}

// What every call begins with. While the thread captures, only launches are allowed.
struct Call {
    std::lock_guard<std::recursive_mutex> guard{state.lock};
    Result result = SUCCESS;

    Call(const char* function, bool is_for_capture) {
        if (!state.fault.empty()) {
            result = LAUNCH_FAILED;
        } else if (current != &context) {
            result = fail(INVALID_CONTEXT, function, "no context is bound to this thread");
        } else if (capturing && !is_for_capture) {
            capturing->capture->is_valid = false;
            result = fail(CAPTURE_UNSUPPORTED, function, "while a stream is captured");
        }
    }
};

#define BEGIN_WHILE_CAPTURING(is_for_capture) \
    Call call(__func__, is_for_capture);      \
    if (call.result != SUCCESS) return call.result
#define BEGIN() BEGIN_WHILE_CAPTURING(false)

void push(Stream* stream, Work work) { stream->queue.push_back(std::move(work)); }

const char* launch(const emulation::Kernel* kernel, const uint32_t grid[2], uint32_t threads,
                   const std::vector<uint64_t>& parameters) {
    bool is_backwards = state.launches++ % 2 != 0;
    const char* why = emulate(kernel->name, grid, threads, parameters.data(),
                              kernel->parameter_bytes, is_backwards);
    if (why) fprintf(stderr, "%s: %s\n", kernel->name, why);
    return why;
}

}  // namespace driver

using namespace driver;

// Nothing else is visible: a process may have the emulator beside this, with a machine of its own.
#pragma GCC visibility push(default)
extern "C" {

Result cuInit(unsigned) { return SUCCESS; }

Result cuDeviceGet(int* device, int ordinal) {
    *device = ordinal;
    return ordinal == 0 ? SUCCESS : INVALID_DEVICE;
}

Result cuDeviceGetCount(int* count) {
    *count = 1;
    return SUCCESS;
}

Result cuDeviceGetName(char* name, int bytes, int) {
    snprintf(name, static_cast<size_t>(bytes), "emulated GPU");
    return SUCCESS;
}

Result cuDeviceGetAttribute(int* value, int attribute, int) {
    switch (attribute) {
        case 16: *value = 3; return SUCCESS;           // multiprocessors
        case 75: *value = 9; return SUCCESS;           // compute capability, major
        case 76: *value = 0; return SUCCESS;           // minor
        case 97: *value = 227 << 10; return SUCCESS;   // shared memory a block may opt in to
        case 115: *value = 1; return SUCCESS;          // memory pools
    }
    return fail(NOT_SUPPORTED, __func__, std::to_string(attribute).c_str());
}

Result cuDevicePrimaryCtxRetain(void** into, int) {
    *into = &context;
    return SUCCESS;
}

Result cuDevicePrimaryCtxRelease_v2(int) { return SUCCESS; }

Result cuCtxGetCurrent(void** into) {
    *into = current;
    return SUCCESS;
}

Result cuCtxSetCurrent(void* to) {
    current = to;
    return SUCCESS;
}

Result cuCtxSynchronize() {
    BEGIN();
    return SUCCESS;  // Asked for by cudarc before there is any stream.
}

Result cuGetErrorName(Result result, const char** name) {
    *name = result == OUT_OF_MEMORY ? "CUDA_ERROR_OUT_OF_MEMORY" : "CUDA_ERROR";
    return SUCCESS;
}

Result cuGetErrorString(Result result, const char** text) {
    static thread_local std::string kept;
    kept = "error " + std::to_string(result) + " of the emulated driver: " + state.fault;
    *text = kept.c_str();
    return SUCCESS;
}

Result cuModuleLoadData(void** module, const void* image) {
    BEGIN();
    uint32_t magic;
    memcpy(&magic, image, 4);
    if (magic != FATBIN_MAGIC) return fail(INVALID_IMAGE, __func__, "no fatbin");
    *module = &state.functions;
    return SUCCESS;
}

Result cuModuleUnload(void*) { return SUCCESS; }

Result cuModuleGetFunction(void** function, void*, const char* name) {
    BEGIN();
    for (const emulation::Kernel& kernel : emulation::KERNELS) {
        if (strcmp(kernel.name, name) != 0) continue;
        *function = &state.functions.try_emplace(name, Function{&kernel, false, 48 << 10})
                         .first->second;
        return SUCCESS;
    }
    return fail(NOT_FOUND, __func__, name);
}

Result cuMemGetInfo_v2(size_t* free, size_t* total) {
    BEGIN();
    *free = TOTAL_MEMORY - state.used;
    *total = TOTAL_MEMORY;
    return SUCCESS;
}

Result cuMemAllocAsync(Address* at, size_t bytes, Stream*) {
    BEGIN();
    if (bytes == 0) return fail(INVALID_VALUE, __func__, "no bytes");
    if (bytes > TOTAL_MEMORY - state.used) return OUT_OF_MEMORY;
    state.used += bytes;
    *at = allocate(state.memory, bytes);
    return SUCCESS;
}

Result cuMemFreeAsync(Address at, Stream* stream) {
    BEGIN();
    if (!state.memory.count(at)) return fail(INVALID_VALUE, __func__, "no memory");
    push(stream, [at]() -> const char* {
        state.used -= state.memory.at(at).bytes;
        return release(state.memory, at) ? nullptr : "a kernel wrote outside of its memory";
    });
    return SUCCESS;
}

Result cuMemsetD8Async(Address at, unsigned char value, size_t bytes, Stream* stream) {
    BEGIN();
    push(stream, [=]() -> const char* {
        if (!is_device(at, bytes)) return "bytes to set that are no memory";
        memset(pointer(at), value, bytes);
        return nullptr;
    });
    return SUCCESS;
}

Result cuMemHostAlloc(void** at, size_t bytes, unsigned) {
    BEGIN();
    *at = pointer(allocate(state.pinned, bytes));
    return SUCCESS;
}

Result cuMemFreeHost(void* at) {
    BEGIN();
    Address address = reinterpret_cast<Address>(at);
    if (!state.pinned.count(address)) return fail(INVALID_VALUE, __func__, "no memory");
    return release(state.pinned, address) ? SUCCESS : broken("a copy beyond pinned memory");
}

Result cuMemcpyHtoDAsync_v2(Address to, const void* from, size_t bytes, Stream* stream) {
    BEGIN();
    std::shared_ptr<std::vector<uint8_t>> staged;
    if (!is_pinned(from, bytes)) {
        auto* begin = static_cast<const uint8_t*>(from);
        staged = std::make_shared<std::vector<uint8_t>>(begin, begin + bytes);
    }
    push(stream, [=]() -> const char* {
        if (!is_device(to, bytes)) return "a copy to what is no memory";
        if (!staged && !is_pinned(from, bytes)) return "a copy from freed memory";
        memcpy(pointer(to), staged ? staged->data() : from, bytes);
        return nullptr;
    });
    return SUCCESS;
}

Result cuMemcpyDtoHAsync_v2(void* to, Address from, size_t bytes, Stream* stream) {
    BEGIN();
    bool is_staged = !is_pinned(to, bytes);
    push(stream, [=]() -> const char* {
        if (!is_device(from, bytes)) return "a copy from what is no memory";
        if (!is_staged && !is_pinned(to, bytes)) return "a copy to freed memory";
        memcpy(to, pointer(from), bytes);
        return nullptr;
    });
    return is_staged ? run_all(stream) : SUCCESS;
}

Result cuStreamCreateWithPriority(Stream** stream, unsigned, int) {
    BEGIN();
    *stream = new Stream;
    return SUCCESS;
}

Result cuStreamCreate(Stream** stream, unsigned flags) {
    return cuStreamCreateWithPriority(stream, flags, 0);
}

Result cuStreamDestroy_v2(Stream* stream) {
    BEGIN();
    Result result = run_all(stream);
    delete stream;
    return result;
}

Result cuStreamSynchronize(Stream* stream) {
    BEGIN();
    return run_all(stream);
}

Result cuEventCreate(Event** event, unsigned) {
    BEGIN();
    *event = new Event;
    return SUCCESS;
}

Result cuEventDestroy_v2(Event* event) {
    BEGIN();
    // What is queued still names it.
    if (event->pending) run_all(event->stream);
    delete event;
    return SUCCESS;
}

Result cuEventRecord(Event* event, Stream* stream) {
    BEGIN();
    ++event->pending;
    event->stream = stream;
    push(stream, [event]() -> const char* {
        --event->pending;
        return nullptr;
    });
    return SUCCESS;
}

// Each question gives the stream time for one thing.
Result cuEventQuery(Event* event) {
    BEGIN();
    if (!event->pending) return SUCCESS;
    bool has_begun = false;
    Result result = run(event->stream, [&] { return std::exchange(has_begun, true); });
    return result != SUCCESS ? result : event->pending ? NOT_READY : SUCCESS;
}

Result cuEventSynchronize(Event* event) {
    BEGIN();
    if (!event->pending) return SUCCESS;
    return run(event->stream, [=] { return event->pending == 0; });
}

Result cuFuncSetAttribute(Function* function, int attribute, int value) {
    BEGIN();
    if (attribute != 8) return fail(NOT_SUPPORTED, __func__, std::to_string(attribute).c_str());
    if (value > 227 << 10) return fail(INVALID_VALUE, __func__, "more shared memory than there is");
    function->dynamic_shared_bytes = value;
    return SUCCESS;
}

Result cuLaunchKernelEx(const LaunchConfig* config, Function* function, void** parameters,
                        void** extra) {
    BEGIN_WHILE_CAPTURING(true);
    const char* name = function->kernel->name;
    const unsigned x = config->grid[0], y = config->grid[1], z = config->grid[2];
    const unsigned threads = config->threads[0];
    Stream* stream = config->stream;
    if (x == 0 || y == 0 || y > 65535 || z != 1) return fail(INVALID_VALUE, name, "its grid");
    if (threads == 0 || threads > 1024 || config->threads[1] != 1 ||
        config->threads[2] != 1 || extra) {
        return fail(INVALID_VALUE, name, "its threads");
    }
    for (unsigned i = 0; i < config->num_attributes; ++i) {
        const LaunchAttribute& attribute = config->attributes[i];
        if (attribute.id != OVERLAPS || attribute.value != 1) {
            return fail(NOT_SUPPORTED, name, "another attribute than that it overlaps");
        }
    }
    if (int(config->shared_bytes) > function->dynamic_shared_bytes) {
        return fail(INVALID_VALUE, name, "more shared memory than it has asked for");
    }
    std::vector<uint64_t> block((function->kernel->parameter_bytes + 7) / 8);
    memcpy(block.data(), parameters[0], function->kernel->parameter_bytes);
    const emulation::Kernel* kernel = function->kernel;
    Work work = [=]() -> const char* {
        const uint32_t grid[2] = {x, y};
        return launch(kernel, grid, threads, block);
    };
    if (stream->capture) {
        if (!function->has_run) return fail(CAPTURE_UNSUPPORTED, name, "it has not run before");
        stream->capture->launches.push_back(std::move(work));
        return SUCCESS;
    }
    function->has_run = true;
    push(stream, std::move(work));
    return SUCCESS;
}

Result cuStreamBeginCapture_v2(Stream* stream, int mode) {
    BEGIN();
    if (mode != 1) return fail(NOT_SUPPORTED, __func__, "another mode than thread-local");
    stream->capture = std::make_unique<Capture>();
    capturing = stream;
    return SUCCESS;
}

Result cuStreamEndCapture(Stream* stream, Graph** graph) {
    BEGIN_WHILE_CAPTURING(true);
    if (!stream->capture || capturing != stream) return INVALID_VALUE;
    std::unique_ptr<Capture> capture = std::move(stream->capture);
    capturing = nullptr;
    *graph = capture->is_valid ? new Graph{std::move(capture->launches)} : nullptr;
    return *graph ? SUCCESS : CAPTURE_INVALIDATED;
}

Result cuGraphInstantiateWithFlags(Graph** executable, const Graph* graph, unsigned long long) {
    BEGIN();
    *executable = new Graph(*graph);
    return SUCCESS;
}

Result cuGraphUpload(Graph*, Stream*) {
    BEGIN();
    return SUCCESS;
}

Result cuGraphLaunch(Graph* executable, Stream* stream) {
    BEGIN();
    for (const Work& work : executable->launches) push(stream, work);
    return SUCCESS;
}

// What the library of dense products queues (`cublas.cpp`): sums of `columns` products of bf16.
Result emulated_multiply(Address weights, Address x, Address out, size_t rows, size_t columns,
                         size_t tokens, Address workspace, size_t workspace_bytes,
                         Stream* stream) {
    BEGIN_WHILE_CAPTURING(true);
    Work work = [=]() -> const char* {
        if (!is_device(weights, rows * columns * 2) || !is_device(x, tokens * columns * 2) ||
            !is_device(out, tokens * rows * 4) || !is_device(workspace, workspace_bytes)) {
            return "a dense product of what is no memory";
        }
        memset(pointer(workspace), POISON, workspace_bytes);
        for (size_t i = 0; i < tokens * rows; ++i) {
            auto* w = static_cast<uint16_t*>(pointer(weights)) + i % rows * columns;
            auto* values = static_cast<uint16_t*>(pointer(x)) + i / rows * columns;
            float sum = 0.0f;
            for (size_t k = 0; k < columns; ++k) sum += bf16_to_f32(w[k]) * bf16_to_f32(values[k]);
            static_cast<float*>(pointer(out))[i] = sum;
        }
        return nullptr;
    };
    static std::set<std::vector<size_t>> known;  // sizes that have run
    std::vector<size_t> sizes = {rows, columns, tokens};
    if (!stream->capture) {
        known.insert(sizes);
        push(stream, std::move(work));
        return SUCCESS;
    }
    if (!known.count(sizes)) return fail(CAPTURE_UNSUPPORTED, __func__, "it has not run before");
    stream->capture->launches.push_back(std::move(work));
    return SUCCESS;
}

Result cuGraphExecDestroy(Graph* executable) {
    delete executable;
    return SUCCESS;
}

Result cuGraphDestroy(Graph* graph) {
    delete graph;
    return SUCCESS;
}

}  // extern "C"
#pragma GCC visibility pop
