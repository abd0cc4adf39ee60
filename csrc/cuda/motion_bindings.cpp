#include "motion_bindings.h"

#include "../common/bindings.h"
#include "motion_weights.h"

namespace aedmae {
namespace {

MotionWeights weights_of(uintptr_t frames, Shape shape, int32_t span, int32_t patch, uintptr_t out) {
  MotionWeights args{};
  args.frames = at<const uint8_t>(frames);
  args.out = at<float>(out);
  args.count = shape[0], args.height = shape[1], args.width = shape[2], args.channels = shape[3];
  args.patch = patch, args.span = span;
  return args;
}

void motion_gradient(uintptr_t frames, Shape shape, int32_t span, uintptr_t out, uintptr_t stream) {
  const int64_t size = int64_t{shape[1]} * shape[2] * shape[3];
  motion_gradient_cuda({at<const uint8_t>(frames), at<uint8_t>(out), size, shape[0], span}, stream);
}

void motion_weights(uintptr_t frames, Shape shape, int32_t span, int32_t patch, uintptr_t out, uintptr_t stream) {
  motion_weights_cuda(weights_of(frames, shape, span, patch, out), stream);
}

// anomaly and peaks are 0 where there are no anomaly maps.
void patch_weights(uintptr_t gradient, Shape shape, uintptr_t anomaly, uintptr_t peaks, int32_t patch, uintptr_t out,
                   uintptr_t stream) {
  MotionWeights args = weights_of(gradient, shape, 0, patch, out);
  args.anomaly = at<const uint8_t>(anomaly);
  args.peaks = at<uint8_t>(peaks);
  motion_weights_cuda(args, stream);
}

}  // namespace

void bind_motion(pybind11::module_& m) {
  m.attr("MAX_ROW_BYTES") = kMaxRowBytes;
  m.def("motion_gradient", motion_gradient, NoGil());
  m.def("motion_weights", motion_weights, NoGil());
  m.def("patch_weights", patch_weights, NoGil());
}

}  // namespace aedmae
