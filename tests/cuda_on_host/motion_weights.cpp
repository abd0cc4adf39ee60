// The CUDA kernels of motion_gradient, motion_weights and patch_weights for the host, as C functions for ctypes.
#include "cuda_on_host.h"

#include "../../csrc/cuda/motion_weights.cu"

namespace {

// What a kernel throws is put into `error`.
template <class Args>
void run(void (*kernel)(const Args&, uintptr_t), const Args& args, unsigned order, char* error, size_t size) {
  aedmae::on_host::order = order;
  try {
    kernel(args, 0);
  } catch (const std::exception& thrown) {
    std::strncpy(error, thrown.what(), size);
  }
}

}  // namespace

extern "C" void motion_gradient(const aedmae::MotionGradient* args, unsigned order, char* error, size_t size) {
  run(aedmae::motion_gradient_cuda, *args, order, error, size);
}

extern "C" void motion_weights(const aedmae::MotionWeights* args, unsigned order, char* error, size_t size) {
  run(aedmae::motion_weights_cuda, *args, order, error, size);
}
