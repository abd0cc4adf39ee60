// The CUDA kernels of motion_gradient, motion_weights and patch_weights for the host, as C functions for ctypes.
#include "cuda_on_host.h"

#include "../../csrc/cuda/motion_weights.cu"

extern "C" void motion_gradient(const aedmae::MotionGradient* args, unsigned order) {
  aedmae::on_host::order = order;
  aedmae::motion_gradient_cuda(*args, 0);
}

extern "C" void motion_weights(const aedmae::MotionWeights* args, unsigned order) {
  aedmae::on_host::order = order;
  aedmae::motion_weights_cuda(*args, 0);
}
