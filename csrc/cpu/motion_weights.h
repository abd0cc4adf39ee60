// motion_gradient, patch_weights and both in one on the CPU: one thread, integers up to the last division, so the same
// bits on every instruction set. aedmae_fast/ops/motion_gradient.py and patch_weights.py are the executable
// specifications.
#pragma once

#include <cstdint>

namespace aedmae {

// Frames of bytes; the innermost two dimensions, a row, are contiguous. Strides in bytes.
struct Frames {
  const uint8_t* data;  // [count, height, width, channels]
  int64_t frame_stride, row_stride;
  int32_t count, height, width, channels;
};

struct AnomalyMaps {
  const uint8_t* data;  // [count, height, width], above 0 is abnormal; or null
  int64_t frame_stride, row_stride;
};

// span: 1 compares frame t with t - 1 (paper), 2 compares t - 1 with t + 1 (release).
void motion_gradient_cpu(const Frames& frames, int32_t span, uint8_t* out);  // out: as frames, contiguous
void motion_weights_cpu(const Frames& frames, int32_t span, int32_t patch, float* out);
// out of both: [count, height / patch * width / patch]
void patch_weights_cpu(const Frames& gradient, const AnomalyMaps& anomaly, int32_t patch, float* out);

// What differs between instruction sets: loops over n bytes.
struct MotionKernels {
  void (*difference)(const uint8_t* a, const uint8_t* b, int64_t n, uint8_t* out);  // |a - b|
  void (*peak)(const uint8_t* a, const uint8_t* b, int64_t n, uint8_t* peak);       // peak = max(peak, |a - b|)
  void (*peak_where)(const uint8_t* a, const uint8_t* mask, int64_t n, uint8_t* peak);  // peak = max(peak, a & mask)
  void (*larger)(const uint8_t* a, const uint8_t* b, int64_t n, uint8_t* out);          // max(a, b)
};

namespace base {
extern const MotionKernels motion_kernels;
}
namespace avx2 {
extern const MotionKernels motion_kernels;
}
namespace avx512 {
extern const MotionKernels motion_kernels;
}

}  // namespace aedmae
