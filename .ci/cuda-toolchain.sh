#!/usr/bin/env bash
# A CUDA 13.0 compiler and everything that a build with `--features cuda` links against, from PyPI,
# on a machine that needs neither a GPU nor a toolkit. It goes into `.cuda`, which git ignores.
#
#     eval "$(.ci/cuda-toolchain.sh)" && cargo build --release --features cuda
#
# Prints the environment for that, and nothing else on standard output. Where CUDA_HOME is set, or
# an `nvcc` is on PATH, that toolkit is left as it is and nothing is installed. Exits with 3 where
# the package index cannot be reached or has no such packages, with 1 for whatever else goes wrong.
#
# The stub libraries have the names that the linker wants and no code: a program linked with them
# runs where NVIDIA's own are, and must never be run against these.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# nvcc writes PTX of its own version, which an older driver refuses: 13.0 runs on drivers from 580.
version=13.0.2

if [[ -n ${CUDA_HOME:-} ]] || command -v nvcc >/dev/null 2>&1; then
    echo "export CUDA_COMPUTE_CAP=${CUDA_COMPUTE_CAP:-90}"
    exit
fi

made=.cuda/made-of-$version-$(cat Cargo.lock .ci/cuda-toolchain.sh | sha256sum | cut -c 1-16)
home() { echo "$PWD"/.cuda/lib/python3.*/site-packages/nvidia/cu13; }

if [[ ! -e $made ]]; then
    {
        [[ -x .cuda/bin/pip ]] || python3 -m venv .cuda
        .cuda/bin/pip install --quiet --disable-pip-version-check \
            "cuda-toolkit[nvcc,crt,nvvm,cudart,cccl]==$version" 2>.cuda/pip.log || {
            cat .cuda/pip.log
            grep -q "No matching distribution found" .cuda/pip.log && exit 3
            exit 1
        }
        cuda=$(home)
        ln -sfn lib "$cuda/lib64"
        ln -sf libcudart.so.13 "$cuda/lib/libcudart.so"
        mkdir -p "$cuda/lib/stubs"
        # The functions of each library that cudarc may name; it is what declares them.
        cudarc=$(cargo metadata --format-version 1 --locked --features cuda | python3 -c '
import json, os, sys
packages = json.load(sys.stdin)["packages"]
print(next(os.path.dirname(p["manifest_path"]) for p in packages if p["name"] == "cudarc"))')
        stub() { # library, its soname, the module of cudarc, the prefix of its functions
            grep -ohE "pub unsafe fn $4[A-Za-z0-9_]+" "$cudarc/src/$3/sys/mod.rs" |
                awk '{ print "void " $4 "(void) {}" }' | sort -u |
                gcc -shared -fPIC -w -x c - -Wl,-soname,"$2" -o "$cuda/lib/stubs/lib$1.so"
        }
        stub cuda libcuda.so.1 driver cu
        stub cublas libcublas.so.13 cublas cublas
        stub cublasLt libcublasLt.so.13 cublaslt cublasLt
        stub curand libcurand.so.10 curand curand
        stub nvrtc libnvrtc.so.13 nvrtc nvrtc
        rm -f .cuda/made-of-*
        touch "$made"
    } >&2
fi

cuda=$(home)
cat <<END
export CUDA_HOME=$cuda
export CUDA_COMPUTE_CAP=${CUDA_COMPUTE_CAP:-90}
export PATH=$cuda/bin:\$PATH
END
