// The one place that launches kernels: `<<<...>>>` on the GPU, plain loops where tests/cuda_on_host runs the same
// source on the host.
#pragma once

#if !defined(AEDMAE_CUDA_ON_HOST)

#include <cuda_runtime.h>

#include <stdexcept>
#include <string>

namespace aedmae {

// Throws std::runtime_error if the launch itself fails; what happens on the GPU later is reported by later calls.
template <class... Params, class... Args>
void launch(const char* name, void (*kernel)(Params...), dim3 grid, dim3 block, cudaStream_t stream, Args... args) {
  kernel<<<grid, block, 0, stream>>>(args...);
  const cudaError_t error = cudaGetLastError();
  if (error != cudaSuccess) throw std::runtime_error(std::string(name) + ": " + cudaGetErrorString(error));
}

}  // namespace aedmae

#endif
