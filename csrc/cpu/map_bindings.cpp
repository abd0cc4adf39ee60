// Python signatures of the kernels on maps and motion.
#include "map_bindings.h"

#include <utility>
#include <vector>

#include "../common/bindings.h"
#include "isa.h"
#include "motion_weights.h"
#include "smooth_max.h"

namespace py = pybind11;

namespace aedmae {
namespace {

using Strides = std::array<int64_t, 2>;  // of a frame and of a row, in bytes

Frames frames(uintptr_t data, Strides stride, Shape shape) {
  return {at<const uint8_t>(data), stride[0], stride[1], shape[0], shape[1], shape[2], shape[3]};
}

std::vector<const float*> maps(const std::vector<uintptr_t>& addresses) {
  std::vector<const float*> out;
  for (const uintptr_t address : addresses) out.push_back(at<const float>(address));
  return out;
}

void mean_filter(uintptr_t image, int64_t row_stride, std::array<int32_t, 2> shape, std::array<int32_t, 2> size,
                 uintptr_t out) {
  mean_filter_cpu({at<const float>(image), row_stride, shape[0], shape[1], size[0], size[1], at<float>(out)});
}

void mean_map(const std::vector<uintptr_t>& addresses, int64_t size, uintptr_t out) {
  const auto all = maps(addresses);
  mean_map_cpu({all.data(), static_cast<int32_t>(all.size()), size}, at<float>(out));
}

std::pair<float, int64_t> mean_max(const std::vector<uintptr_t>& addresses, int64_t size) {
  const auto all = maps(addresses);
  const Greatest found = mean_max_cpu({all.data(), static_cast<int32_t>(all.size()), size});
  return {found.value, found.pixel};
}

void motion_gradient(uintptr_t data, Strides stride, Shape shape, int32_t span, uintptr_t out) {
  motion_gradient_cpu(frames(data, stride, shape), span, at<uint8_t>(out));
}

void motion_weights(uintptr_t data, Strides stride, Shape shape, int32_t span, int32_t patch, uintptr_t out) {
  motion_weights_cpu(frames(data, stride, shape), span, patch, at<float>(out));
}

void patch_weights(uintptr_t gradient, Strides stride, Shape shape, uintptr_t anomaly, Strides anomaly_stride,
                   int32_t patch, uintptr_t out) {
  patch_weights_cpu(frames(gradient, stride, shape), {at<const uint8_t>(anomaly), anomaly_stride[0], anomaly_stride[1]},
                    patch, at<float>(out));
}

// (address, frame stride, token stride), strides in elements; (weight, bias).
using States = std::array<int64_t, 3>;
using HeadAddresses = std::array<uintptr_t, 2>;

void discrepancy_map(States teacher, States student, HeadAddresses teacher_head, HeadAddresses student_head,
                     bool bfloat16, int32_t channels, uintptr_t frames, Strides stride,
                     std::array<int32_t, 3> shape,  // batch, height, width
                     int32_t patch, bool squared, std::array<float, 3> weights, uintptr_t map, uintptr_t means) {
  DiscrepancyMap a{};
  const States states[2] = {teacher, student};
  const HeadAddresses heads[2] = {teacher_head, student_head};
  for (int i = 0; i < 2; ++i) {
    a.states[i] = {at<const void>(static_cast<uintptr_t>(states[i][0])), states[i][1], states[i][2]};
    a.head[i] = {at<const void>(heads[i][0]), at<const void>(heads[i][1])};
    a.weights[i] = weights[i];
  }
  a.weights[2] = weights[2];
  a.squared = squared;
  a.frames = at<const uint8_t>(frames), a.frame_stride = stride[0], a.row_stride = stride[1];
  a.batch = shape[0], a.height = shape[1], a.width = shape[2], a.c = channels, a.patch = patch;
  a.map = at<float>(map), a.means = at<float>(means);
  Scratch scratch;
  const Kernels& table = kernels();
  (bfloat16 ? table.network_bf16 : table.network_f32).discrepancy_map(a, scratch);
}

}  // namespace

void bind_maps(py::module_& m) {
  m.def("mean_filter", mean_filter, NoGil());
  m.def("mean_map", mean_map, NoGil());
  m.def("mean_max", mean_max, NoGil());
  m.def("motion_gradient", motion_gradient, NoGil());
  m.def("motion_weights", motion_weights, NoGil());
  m.def("patch_weights", patch_weights, NoGil());
  m.def("discrepancy_map", discrepancy_map, NoGil());
}

}  // namespace aedmae
