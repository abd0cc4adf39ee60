// motion_gradient, patch_weights and both in one on the GPU. aedmae_fast/ops/motion_gradient.py and patch_weights.py
// are the executable specifications.
//
// Pointers are device memory of the current device, all of it contiguous; `stream` is a cudaStream_t. Each function
// throws std::runtime_error.
#pragma once

#include <cstdint>

namespace aedmae {

// Everything motion_gradient is asked to do.
struct MotionGradient {
  const uint8_t* frames;  // [count, size]
  uint8_t* out;           // [count, size]
  int64_t size;           // bytes of a frame
  int32_t count;
  int32_t span;  // 1: |x_{t-1} - x_t| (paper); 2: |x_{t-1} - x_{t+1}| (release)
};

// Everything motion_weights and patch_weights are asked to do.
struct MotionWeights {
  const uint8_t* frames;   // [count, height, width, channels]
  const uint8_t* anomaly;  // [count, height, width], above 0 is abnormal; or null
  uint8_t* peaks;          // [count, height / patch * width / patch], memory to work in where there are anomaly maps
  float* out;              // [count, height / patch * width / patch]
  int32_t count, height, width, channels;
  int32_t patch;  // divides height and width
  int32_t span;   // 0: `frames` are gradients; 1 and 2 as above
};

// Of width * channels, or with anomaly maps of width * (channels + 1): what has to fit into a block's shared memory.
constexpr int32_t kMaxRowBytes = 48 << 10;

void motion_gradient_cuda(const MotionGradient& args, uintptr_t stream);

// The gradient is never stored. Throws std::invalid_argument of frames with more rows of patches than a grid has room
// for: 65 535 at least.
void motion_weights_cuda(const MotionWeights& args, uintptr_t stream);

}  // namespace aedmae
