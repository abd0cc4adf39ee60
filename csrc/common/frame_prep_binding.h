// The Python signature of frame_prep, the same in _cpu and (with a stream at the end) in _cuda.
#pragma once

#include <vector>

#include "bindings.h"
#include "frame_prep.h"

namespace aedmae {

// run(const FramePrep&, extra...) -> a function for module_::def.
template <class... Extra>
auto frame_prep_binding(void (*run)(const FramePrep&, Extra...)) {
  return [run](const std::vector<std::array<int64_t, 4>>& planes,  // (address, frame, row, pixel stride) each
               bool is_bgr, std::array<int32_t, 2> sub,            // planes are B, G, R; chroma sub-sampling (y, x)
               int32_t kr, int32_t kb, bool full_range,            // colour
               std::array<int32_t, 3> source,                      // frames, height, width
               uintptr_t out, std::array<int32_t, 2> size,         // BGR [frames, *size, 3]; height, width
               bool bfloat16,                                      // of `out`; else uint8
               Extra... extra) {
    FramePrep args{};
    args.planes = static_cast<int32_t>(planes.size());
    for (size_t i = 0; i < planes.size() && i < 3; ++i) {
      args.plane[i] = at<const uint8_t>(planes[i][0]);
      args.frame_stride[i] = planes[i][1];
      args.row_stride[i] = planes[i][2];
      args.pixel_stride[i] = planes[i][3];
    }
    args.is_bgr = is_bgr;
    args.sub_y = sub[0], args.sub_x = sub[1];
    args.kr = kr, args.kb = kb, args.full_range = full_range;
    args.frames = source[0], args.height = source[1], args.width = source[2];
    args.out = at<void>(out);
    args.out_height = size[0], args.out_width = size[1];
    args.bfloat16 = bfloat16;
    pybind11::gil_scoped_release no_gil;
    run(args, extra...);
  };
}

}  // namespace aedmae
