// The one place that launches kernels: `<<<...>>>` on the GPU, fibers where tests/cuda_on_host runs the same source on
// the host.
#pragma once

#if !defined(AEDMAE_CUDA_ON_HOST)

#include <cuda_runtime.h>

#include <cstdint>
#include <stdexcept>
#include <string>

namespace aedmae {

constexpr uint32_t kMostBlocks = 65535;  // of a grid along y and z; along x there is room for 2^31 - 1

// Throws std::runtime_error if the launch itself fails; what happens on the GPU later is reported by later calls.
template <class... Params, class... Args>
void launch(const char* name, void (*kernel)(Params...), dim3 grid, dim3 block, size_t shared_bytes,
            cudaStream_t stream, Args... args) {
  kernel<<<grid, block, shared_bytes, stream>>>(args...);
  const cudaError_t error = cudaGetLastError();
  if (error != cudaSuccess) throw std::runtime_error(std::string(name) + ": " + cudaGetErrorString(error));
}

// The block's shared memory, all of it dynamic: as many bytes as its launch asks for, 16-byte aligned, not initialised.
template <class T>
__device__ T* shared_memory() {
  extern __shared__ uint4 aedmae_shared_memory[];
  return reinterpret_cast<T*>(aedmae_shared_memory);
}

}  // namespace aedmae

#endif
