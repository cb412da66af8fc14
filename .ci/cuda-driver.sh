#!/usr/bin/env bash
# Runs the GPU's tests through the whole host side (candle's device, cudarc, streams, graphs, pinned
# memory) on a machine without a GPU: with a driver that runs kernels on the emulator
# (`kernels/cuda/emulation/driver.cpp`) in the place of NVIDIA's. Shows what a GPU's driver would be
# asked for; not what nvcc made of the kernels, which nothing here can run.
#
#     eval "$(.ci/cuda-toolchain.sh)" && .ci/cuda-driver.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

made=${CARGO_TARGET_DIR:-target}/cuda-driver
mkdir -p "$made"
made=$(cd "$made" && pwd)  # Tests run in other folders.
cudarc=$(cargo metadata --format-version 1 --locked --features cuda | python3 -c '
import json, os, sys
packages = json.load(sys.stdin)["packages"]
print(next(os.path.dirname(p["manifest_path"]) for p in packages if p["name"] == "cudarc"))')

functions() { # the module of cudarc, the prefix of its functions
    grep -ohE "pub unsafe fn $2[A-Za-z0-9_]+" "$cudarc/src/$1/sys/mod.rs" | awk '{ print $4 }' | sort -u
}
# All other functions of the driver say who they are and fail.
{
    echo '#include <stdio.h>'
    functions driver cu | sed 's/.*/__attribute__((weak)) int &(void) {\n    fputs("& is not emulated\\n", stderr);\n    return 801;\n}/'
} >"$made/others.c"
cc -c -fPIC -o "$made/others.o" "$made/others.c"
c++ -std=c++17 -O2 -shared -fPIC -fvisibility=hidden -w -U_FORTIFY_SOURCE -ffp-contract=off -Wl,-soname,libcuda.so.1 \
    -o "$made/libcuda.so.1" kernels/cuda/emulation/driver.cpp "$made/others.o"
# What candle opens: of cuBLAS one product, and of what Mizan never uses, all goes well.
other() { # soname, the module of cudarc, the prefix of its functions, what else is linked
    functions "$2" "$3" | sed 's/.*/__attribute__((weak)) int &(void) { return 0; }/' |
        cc -c -fPIC -w -x c - -o "$made/$2.o"
    c++ -std=c++17 -O2 -shared -fPIC -w -Wl,-soname,"$1" -o "$made/$1" "$made/$2.o" "${@:4}"
}
other libcublas.so.13 cublas cublas kernels/cuda/emulation/cublas.cpp "$made/libcuda.so.1"
other libcublasLt.so.13 cublaslt cublasLt
other libcurand.so.10 curand curand
other libnvrtc.so.13 nvrtc nvrtc

export LD_LIBRARY_PATH=$made:${CUDA_HOME:+$CUDA_HOME/lib:}${LD_LIBRARY_PATH:-}
cargo test -p kernels --lib --features cuda --locked cuda::
cargo test -p mizan --test it --features cuda --locked -- model::cuda engine::sampler_cuda engine::ahead
