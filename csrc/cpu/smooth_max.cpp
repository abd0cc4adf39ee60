#include "smooth_max.h"

#include <vector>

#include "isa.h"

namespace aedmae {

void mean_filter_cpu(const MeanFilter& args) {
  std::vector<float> scratch(2 * int64_t{args.width} + args.columns - 1);
  kernels().smooth_max.mean_filter(args, scratch.data());
}

void mean_map_cpu(const MeanMaps& args, float* out) { kernels().smooth_max.mean_map(args, out); }

Greatest mean_max_cpu(const MeanMaps& args) { return kernels().smooth_max.mean_max(args); }

}  // namespace aedmae
