// NVIDIA's cuBLAS, as far as it is asked for, over `driver.cpp`: one kind of product, of bf16 to f32,
// on the handle's stream and with its memory. Anything else is an error.
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct Stream;

extern "C" {

enum Status : int { SUCCESS = 0, INVALID_VALUE = 7, EXECUTION_FAILED = 13, NOT_SUPPORTED = 15 };

int emulated_multiply(uint64_t weights, uint64_t x, uint64_t out, size_t rows, size_t columns,
                      size_t tokens, uint64_t workspace, size_t workspace_bytes, Stream* stream);

struct Handle {
    Stream* stream;
    uint64_t workspace;
    size_t workspace_bytes;
};

Status cublasCreate_v2(Handle** handle) {
    *handle = new Handle{};
    return SUCCESS;
}

Status cublasDestroy_v2(Handle* handle) {
    delete handle;
    return SUCCESS;
}

Status cublasSetStream_v2(Handle* handle, Stream* stream) {
    *handle = {stream, 0, 0};  // It forgets its memory, too.
    return SUCCESS;
}

Status cublasSetWorkspace_v2(Handle* handle, uint64_t workspace, size_t bytes) {
    if (workspace % 256 != 0) return INVALID_VALUE;
    handle->workspace = workspace;
    handle->workspace_bytes = bytes;
    return SUCCESS;
}

Status cublasGemmEx(Handle* handle, int transposes_a, int transposes_b, int m, int n, int k,
                    const float* alpha, uint64_t a, int a_type, int a_stride, uint64_t b,
                    int b_type, int b_stride, const float* beta, uint64_t c, int c_type,
                    int c_stride, int compute_type, int) {
    constexpr int F32 = 0, BF16 = 14, COMPUTE_F32 = 68;
    bool is_known = transposes_a == 1 && transposes_b == 0 && *alpha == 1.0f && *beta == 0.0f &&
                    a_type == BF16 && b_type == BF16 && c_type == F32 &&
                    compute_type == COMPUTE_F32 && a_stride == k && b_stride == k && c_stride == m;
    if (!is_known || !handle->workspace) {
        fputs("cublasGemmEx: this product is not emulated\n", stderr);
        return NOT_SUPPORTED;
    }
    int result = emulated_multiply(a, b, c, m, k, n, handle->workspace, handle->workspace_bytes,
                                   handle->stream);
    return result == 0 ? SUCCESS : EXECUTION_FAILED;
}

}  // extern "C"
