// Runs CUDA kernels on the host: include this before a .cu file and compile it as C++. Threads run one after another,
// so kernels with barriers or warp operations are not for it yet. No CUDA toolkit is needed.
#pragma once

#define AEDMAE_CUDA_ON_HOST  // csrc/cuda/launch.h leaves `launch` to this file

#define __global__
#define __device__
#define __host__
#define __launch_bounds__(...)

struct dim3 {
  unsigned x, y, z;
  dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

using cudaStream_t = void*;

inline dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace aedmae {

template <class F>
void for_each(dim3 size, dim3& index, F run) {
  for (index.z = 0; index.z < size.z; ++index.z)
    for (index.y = 0; index.y < size.y; ++index.y)
      for (index.x = 0; index.x < size.x; ++index.x) run();
}

template <class... Params, class... Args>
void launch(const char*, void (*kernel)(Params...), dim3 grid, dim3 block, cudaStream_t, Args... args) {
  gridDim = grid;
  blockDim = block;
  for_each(grid, blockIdx, [&] { for_each(block, threadIdx, [&] { kernel(args...); }); });
}

}  // namespace aedmae
