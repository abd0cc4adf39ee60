// The parts of smooth_max on the CPU: a 2-D mean filter, and the mean of a few maps or its maximum. One thread; the
// same bits on every instruction set. aedmae_fast/ops/smooth_max.py is the executable specification.
#pragma once

#include <cstdint>

namespace aedmae {

struct MeanFilter {
  const float* image;  // [height, width], contiguous rows
  int64_t row_stride;  // floats from a row to the next
  int32_t height, width;
  int32_t rows, columns;  // extent of the filter, both odd
  float* out;             // [height, width], contiguous
};

struct MeanMaps {
  const float* const* maps;  // `count` maps of `size` floats, added in this order
  int32_t count;
  int64_t size;
};

struct Greatest {
  float value;    // NaN if the mean is NaN anywhere
  int64_t pixel;  // the first that has it
};

void mean_filter_cpu(const MeanFilter& args);
void mean_map_cpu(const MeanMaps& args, float* out);  // out: `size` floats
Greatest mean_max_cpu(const MeanMaps& args);          // size from 1 to 2^31 - 1

// What differs between instruction sets.
struct SmoothMaxKernels {
  // scratch: 2 * width + columns - 1 floats, all 0
  void (*mean_filter)(const MeanFilter& args, float* scratch);
  void (*mean_map)(const MeanMaps& args, float* out);
  Greatest (*mean_max)(const MeanMaps& args);
};

namespace base {
extern const SmoothMaxKernels smooth_max_kernels;
}
namespace avx2 {
extern const SmoothMaxKernels smooth_max_kernels;
}
namespace avx512 {
extern const SmoothMaxKernels smooth_max_kernels;
}

}  // namespace aedmae
