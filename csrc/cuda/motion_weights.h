// motion_weights on the GPU: consecutive frames -> token weights, two launches, the motion gradient never stored.
#pragma once

#include <cstdint>

namespace aedmae {

// Everything motion_weights is asked to do.
struct MotionWeights {
  const uint8_t* frames;  // [count, height, width, channels], contiguous
  float* out;             // [count, height / patch * width / patch], contiguous
  int32_t count, height, width, channels;
  int32_t patch;    // divides height and width
  int32_t release;  // 1: |x_{t-1} - x_{t+1}|; 0, as in the paper: |x_{t-1} - x_t|
};

constexpr int32_t kMaxRowBytes = 48 << 10;  // width * channels: one row has to fit into a block's shared memory

// Pointers are device memory of the current device; `stream` is a cudaStream_t. Throws std::runtime_error.
void motion_weights_cuda(const MotionWeights& args, uintptr_t stream);

}  // namespace aedmae
