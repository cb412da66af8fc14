#!/usr/bin/env bash
# The CUDA build on a machine with a GPU: builds, checks and measures, in one call.
#
#     .ci/cuda-machine.sh             where Rust is too: everything
#     .ci/cuda-machine.sh build DIR   anywhere: puts what the next two need into DIR (under 64 MiB)
#     DIR/cuda-machine.sh check DIR   on a machine with a GPU and no Rust, at least as new as the
#                                     builder's: checks
#     DIR/cuda-machine.sh measure DIR [PART...]   measures there; all parts, or these in this order
#
# Checks: every kernel against the reference, the executor against the reference executor for each
# family, real models' greedy text against the CPU's (where MIZAN_TEST_MODELS has them), sampling against the host's, a soak of requests and aborts, compute-sanitizer where it is
# installed. Fails if a check fails or no GPU is there.
#
# Measures, on models of eight billion weights made by a formula (benches/hashed_model.py; nothing is
# downloaded; needs numpy), each part with what the machine has, or saying what it lacks:
#     ceilings  what the card multiplies and copies (PyTorch)
#     models    writes the models, 30 GB
#     streams   decoding of 1 to 256 streams and prefill, bf16, Q8_0, Q4_K_M
#     logits    all logits of a prompt against PyTorch's (PyTorch, transformers)
#     charging  what charging 256 streams costs
#     peers     transformers' continuous batching, torch.compile (PyTorch, transformers)
#     llama     builds llama.cpp from the source folder LLAMA_CPP_DIR, and runs it in turns with ours
#               (nvcc, CMake; minutes: where a call is short, in one of its own)
#     kernels   each kernel, and each file in MIZAN_TEST_MODELS, if that is set
#     table     the goals, and what was reached
# Models and figures are kept in MEASURED, /tmp/mizan-measured unless set, for further calls.
# MEASURE_SHAPE=small MEASURE_DEVICE=cpu MEASURE_STREAMS=1,8 MEASURE_CHARGED=8 tries it without a GPU.
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
    cp models.toml benches/{hashed_model,hashed_logits,torch_peers,cuda_goals}.py "$to/"
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
    [[ -n ${MIZAN_TEST_MODELS:-} ]] || skipped=(--skip a_real_)
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
    step "checked"
}

# Says why a part was not measured.
lacks() { printf 'not measured: %s\n' "$1"; }

# Whether Python has these modules, and PyTorch the device.
has() {
    python3 - "$device" "$@" <<'END' 2>/dev/null
import importlib, sys
modules = [importlib.import_module(name) for name in sys.argv[2:]]
torch = sys.modules.get("torch")
sys.exit(bool(torch and sys.argv[1] == "cuda" and not torch.cuda.is_available()))
END
}

# A figure of the ceilings as a flag, where they were measured.
ceiling() { # flag, figure
    [[ ! -e $measured/ceilings.json ]] || python3 - "$1" "$2" "$measured/ceilings.json" <<'END'
import json, sys
print("--" + sys.argv[1], json.load(open(sys.argv[3]))[sys.argv[2]])
END
}

measure_ceilings() {
    has torch numpy || { lacks "there is no PyTorch with this device"; return; }
    python3 torch_peers.py ceilings --device "$device" --json "$measured/ceilings.json"
}

measure_models() {
    has numpy || { lacks "there is no numpy"; return; }
    local free
    free=$(df --output=avail -BG "$measured" | tail -n 1)
    [[ $shape != llama-3.1-8b || ${free//[!0-9]/} -ge 34 || -e $measured/q4_k_m.gguf ]] ||
        { lacks "$measured has $free of room, of 34G needed"; return; }
    for form in bf16 q8_0 q4_k_m; do
        [[ -e $measured/$form.gguf ]] || {
            python3 hashed_model.py "$measured/$form.part" --shape "$shape" --as "$form"
            mv "$measured/$form.part" "$measured/$form.gguf"
        }
    done
}

# Runs ours on a model; the digest of a file is kept in the data folder.
mizan() { ./mizan "$@" --device "$device" --config models.toml --data "$measured/data"; }

measure_streams() {
    local bounds form
    read -ra bounds <<<"$(ceiling bandwidth bandwidth_gbs) $(ceiling peak peak_tflops)"
    for form in bf16 q8_0 q4_k_m; do
        [[ -e $measured/$form.gguf ]] || { lacks "the part models has not written $form"; continue; }
        mizan bench streams "$measured/$form.gguf" --streams "${MEASURE_STREAMS:-1,8,64,256}" \
            --rounds 3 "${bounds[@]}" --json "$measured/streams-$form.json"
    done
}

measure_logits() {
    [[ -e $measured/bf16.gguf ]] || { lacks "the part models has not written bf16"; return; }
    has torch numpy transformers || { lacks "there is no PyTorch, or no transformers"; return; }
    python3 torch_peers.py logits "$measured/logits.safetensors" --shape "$shape" --device "$device"
    local told agree=true
    told=$(mizan verify "$measured/bf16.gguf" --against "$measured/logits.safetensors" 2>&1) || agree=false
    printf '%s\n' "$told"
    printf '{"agree": %s, "told": "%s"}\n' "$agree" "$(grep -m 1 NMSE <<<"$told" || echo "it failed")" \
        >"$measured/logits.json"
}

measure_charging() {
    [[ -e $measured/bf16.gguf ]] || { lacks "the part models has not written bf16"; return; }
    mizan bench charging "$measured/bf16.gguf" --streams "${MEASURE_CHARGED:-256}" --prompt 256 \
        --tokens 128 --rounds 6 --folder "$measured" --json "$measured/charging.json"
}

measure_peers() {
    has torch numpy || { lacks "there is no PyTorch with this device"; return; }
    local more=(--shape "$shape" --device "$device" ${MEASURE_STREAMS:+--streams "$MEASURE_STREAMS"})
    python3 torch_peers.py compiled "${more[@]}" --json "$measured/compiled.json" || lacks "it failed"
    has transformers || { lacks "there is no transformers"; return; }
    python3 torch_peers.py continuous "${more[@]}" --json "$measured/continuous.json" || lacks "it failed"
}

# Builds llama-bench of the source folder, once.
llama_bench() {
    [[ ! -x $measured/llama/bin/llama-bench ]] || return 0
    [[ -n ${LLAMA_CPP_DIR:-} ]] || { lacks "LLAMA_CPP_DIR names no source folder"; return 1; }
    command -v cmake >/dev/null || { lacks "there is no CMake"; return 1; }
    local cuda=(-DGGML_CUDA=ON -DGGML_CUDA_NCCL=OFF -DCMAKE_CUDA_ARCHITECTURES=90)
    [[ $device == cuda ]] || cuda=(-DGGML_NATIVE=ON)
    cmake -S "$LLAMA_CPP_DIR" -B "$measured/llama" -DCMAKE_BUILD_TYPE=Release "${cuda[@]}" \
        -DLLAMA_BUILD_SERVER=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_CURL=OFF >"$measured/llama.log" 2>&1 &&
        cmake --build "$measured/llama" -j "$(nproc)" --target llama-bench >>"$measured/llama.log" 2>&1 ||
        { tail -n 20 "$measured/llama.log"; lacks "llama.cpp cannot be built"; return 1; }
}

measure_llama() {
    llama_bench || return 0
    local form round
    for form in bf16 q8_0 q4_k_m; do
        [[ -e $measured/$form.gguf ]] || { lacks "the part models has not written $form"; continue; }
        for round in 1 2 3; do
            mizan bench streams "$measured/$form.gguf" --streams 1 --prefill 0 --rounds 1 \
                --json "$measured/beside-$form-$round-mizan.json" | tail -n 1
            "$measured/llama/bin/llama-bench" -m "$measured/$form.gguf" -ngl 99 -fa 1 -p 0 -n 128 \
                -d 1024 -r 1 -o json >"$measured/beside-$form-$round-llama.json" 2>"$measured/llama.log" ||
                { tail -n 5 "$measured/llama.log"; rm "$measured/beside-$form-$round-llama.json"; }
        done
        "$measured/llama/bin/llama-bench" -m "$measured/$form.gguf" -ngl 99 -fa 1 -p 2048 -n 128 -r 3 || true
    done
}

measure_kernels() {
    if [[ $device == cuda ]]; then ./kernels-bench --bench; else lacks "kernels need a GPU"; fi
    for model in ${MIZAN_TEST_MODELS:+"$MIZAN_TEST_MODELS"/*.gguf}; do
        mizan bench decode "$model"
    done
}

measure_table() { python3 cuda_goals.py "$measured"; }

measure() {
    cd "$1"
    shift
    shape=${MEASURE_SHAPE:-llama-3.1-8b} device=${MEASURE_DEVICE:-cuda}
    measured=${MEASURED:-/tmp/mizan-measured}
    mkdir -p "$measured"
    find_libraries ./mizan
    local parts=("$@") part
    [[ $# -gt 0 ]] ||
        parts=(ceilings models streams logits charging peers llama kernels table)
    for part in "${parts[@]}"; do
        declare -F "measure_$part" >/dev/null || { echo "there is no part $part"; exit 2; }
    done
    for part in "${parts[@]}"; do
        step "$part"
        "measure_$part"
    done
    step "measured"
}

case ${1:-all} in
build) build "$(mkdir -p "$2" && cd "$2" && pwd)" ;;
check) check "$2" ;;
measure) measure "${@:2}" ;;
all)
    build "$root/.cuda/machine"
    check "$root/.cuda/machine"
    measure "$root/.cuda/machine"
    ;;
*) sed -n '2,/^set/{/^#/p}' "$0" && exit 2 ;;
esac
