#!/usr/bin/env bash
# The CUDA build on a machine with a GPU: builds, checks and measures, in one call.
#
#     .ci/cuda-machine.sh             where Rust is too: everything
#     .ci/cuda-machine.sh build DIR   anywhere: puts what the next needs into DIR (under 64 MiB)
#     DIR/cuda-machine.sh check DIR   on a machine with a GPU and no Rust, at least as new as the
#                                     builder's: checks and measures
#
# Checks: every kernel against the reference, the executor against the reference executor for each
# family, sampling against the host's, a soak of requests and aborts, compute-sanitizer where it is
# installed. Measures: the kernels; decoding and prefill of
# the models in MIZAN_TEST_MODELS, if that is set, on the GPU. Fails if a check fails or no GPU is
# there.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
step() { printf '\n== %s (%s s)\n' "$1" "$SECONDS"; }

# The one executable of a cargo call, with its symbols but without what debuggers need.
built() { # where to put it, cargo's arguments
    local to=$1 path
    shift
    path=$(cargo "$@" --locked --message-format=json | python3 -c '
import json, sys
lines = (json.loads(line) for line in sys.stdin if line.startswith("{"))
print([l["executable"] for l in lines if l.get("executable")][-1])')
    objcopy --strip-debug "$path" "$to"
}

build() {
    local to=$1
    cd "$root"
    eval "$(.ci/cuda-toolchain.sh)"
    mkdir -p "$to"
    step "kernels' tests"
    built "$to/kernels-tests" test --no-run -p kernels --lib --features cuda
    step "the executor's tests"
    built "$to/mizan-tests" test --no-run -p mizan --test it --features cuda
    step "kernels' benchmark"
    built "$to/kernels-bench" bench --no-run -p kernels --bench cuda --features cuda,emulation
    step "mizan"
    built "$to/mizan" build --release -p mizan --bin mizan --features cuda
    [[ "$to/cuda-machine.sh" -ef .ci/cuda-machine.sh ]] || cp .ci/cuda-machine.sh "$to/"
    cp models.toml "$to/"
    du -sh "$to"
}

# NVIDIA's libraries, from a toolkit or from the wheels of a Python that has them.
find_libraries() {
    local found
    found=$(python3 - <<'END' 2>/dev/null || true
import glob, os, site, sys
roots = site.getsitepackages() + sys.path
print(":".join(sorted({d for r in roots for d in glob.glob(os.path.join(r, "nvidia", "*", "lib"))})))
END
)
    export LD_LIBRARY_PATH=${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$found:/usr/local/cuda/lib64
    if ldd "$1" | grep "not found"; then
        echo "these libraries are needed: a driver from 580 on; cublas, curand and nvrtc of CUDA 13"
        exit 1
    fi
}

check() {
    cd "$1"
    find_libraries ./mizan
    step "the GPU"
    nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.sm --format=csv
    step "kernels against the reference"
    ./kernels-tests cuda::
    step "the executor against the reference executor"
    local skipped=()
    [[ -n ${MIZAN_TEST_MODELS:-} ]] || skipped=(--skip a_real_quantized_file)
    ./mizan-tests model::cuda "${skipped[@]}"
    step "sampling, running ahead, a soak with aborts"
    ./mizan-tests engine::sampler_cuda engine::ahead
    if command -v compute-sanitizer >/dev/null; then
        for tool in memcheck racecheck synccheck; do
            step "compute-sanitizer, $tool"
            compute-sanitizer --tool "$tool" --error-exitcode 9 ./kernels-tests cuda:: \
                --test-threads 1 | tail -n 5
        done
    else
        echo "not checked: there is no compute-sanitizer"
    fi
    step "ceilings"
    python3 - <<'END' || echo "not measured: there is no PyTorch with CUDA"
import time, torch
def seconds(run, times):
    for _ in range(3): run()
    torch.cuda.synchronize(); started = time.time()
    for _ in range(times): run()
    torch.cuda.synchronize(); return (time.time() - started) / times
a = torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16); b = torch.randn_like(a)
x = torch.empty(1 << 30, device="cuda", dtype=torch.float32); y = torch.empty_like(x)
print("bf16 product of 8192: %.0f TFLOP/s" % (2 * 8192**3 / seconds(lambda: torch.mm(a, b), 10) / 1e12))
print("copy, read and written: %.0f GB/s" % (2 * 4 * x.numel() / seconds(lambda: y.copy_(x), 10) / 1e9))
END
    step "kernels"
    ./kernels-bench --bench
    for model in ${MIZAN_TEST_MODELS:+"$MIZAN_TEST_MODELS"/*.gguf}; do
        step "${model##*/}"
        ./mizan bench decode "$model" --device cuda --config models.toml
    done
    step "done"
}

case ${1:-all} in
build) build "$(mkdir -p "$2" && cd "$2" && pwd)" ;;
check) check "$2" ;;
all)
    build "$root/.cuda/machine"
    check "$root/.cuda/machine"
    ;;
*) sed -n '2,12p' "$0" && exit 2 ;;
esac
