#include "motion_bindings.h"

#include <pybind11/stl.h>

#include <array>

#include "motion_weights.h"

namespace aedmae {

void bind_motion(pybind11::module_& m) {
  m.attr("MAX_ROW_BYTES") = kMaxRowBytes;
  m.def("motion_weights", [](uintptr_t frames, std::array<int32_t, 4> shape,  // [count, height, width, channels]
                             int32_t patch, bool release, uintptr_t out, uintptr_t stream) {
    MotionWeights args{};
    args.frames = reinterpret_cast<const uint8_t*>(frames);
    args.out = reinterpret_cast<float*>(out);
    args.count = shape[0], args.height = shape[1], args.width = shape[2], args.channels = shape[3];
    args.patch = patch, args.release = release;
    pybind11::gil_scoped_release no_gil;
    motion_weights_cuda(args, stream);
  });
}

}  // namespace aedmae
