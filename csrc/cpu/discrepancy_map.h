// discrepancy_map on the CPU: both heads' products, the target error, the gap and the sum over channels in one pass;
// the predictions never leave registers and the first-level cache. One thread, and a frame's result does not depend on
// the others of its batch. aedmae_fast/ops/discrepancy_map.py is the executable specification.
#pragma once

#include <cstdint>

namespace aedmae {

struct HiddenStates {
  const void* data;  // [batch, tokens, channels], float32 or bfloat16, contiguous channels
  int64_t frame_stride, token_stride;  // in elements
};

struct Head {
  const void* weight;  // [4 * patch * patch, channels], contiguous, of the hidden states' type
  const void* bias;    // [4 * patch * patch]
};

struct DiscrepancyMap {
  HiddenStates states[2];  // teacher, student
  Head head[2];
  int32_t bfloat16;      // 0: float32
  const uint8_t* frames;  // [batch, height, width, 3], contiguous rows; strides in bytes
  int64_t frame_stride, row_stride;
  int32_t batch, height, width, channels, patch;
  int32_t squared;   // 0: L1
  float weights[3];  // of colour error, abnormality and gap in the map
  float* map;        // [batch, height, width]
  float* means;      // [batch, 3]
};

void discrepancy_map_cpu(const DiscrepancyMap& args);

// What differs between instruction sets. Channels come as `words` of 32 bits: a float32, or two bfloat16. Addresses may
// be odd multiples of 2.
struct DiscrepancyTask {
  const char* states[2];                       // [batch, tokens, words]
  int64_t frame_stride[2], token_stride[2];    // in bytes
  const char* weight[2];                       // [4 * patch * patch, words]
  const float* bias[2];                        // [4 * patch * patch]
  int32_t words;
  float* panel;   // scratch: 8 * lanes * words floats, aligned to 64 bytes
  double* sums;   // scratch: batch * 3 * lanes, all 0
};

struct DiscrepancyKernels {
  int32_t lanes;
  void (*float32)(const DiscrepancyMap&, const DiscrepancyTask&);
  void (*bfloat16)(const DiscrepancyMap&, const DiscrepancyTask&);  // null where the CPU cannot multiply bfloat16
};

namespace base {
extern const DiscrepancyKernels discrepancy_kernels;
}
namespace avx2 {
extern const DiscrepancyKernels discrepancy_kernels;
}
namespace avx512 {
extern const DiscrepancyKernels discrepancy_kernels;
}
namespace avx512_bf16 {
extern const DiscrepancyKernels discrepancy_kernels;
}

}  // namespace aedmae
