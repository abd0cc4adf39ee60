// The CUDA kernels of motion_weights for the host, as a C function for ctypes.
#include "cuda_on_host.h"

#include "../../csrc/cuda/motion_weights.cu"

extern "C" void motion_weights(const aedmae::MotionWeights* args, unsigned order) {
  aedmae::on_host::order = order;
  aedmae::motion_weights_cuda(*args, 0);
}
