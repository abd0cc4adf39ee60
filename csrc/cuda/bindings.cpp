// aedmae_fast._cuda: kernels on raw device addresses. The callers in aedmae_fast/ops check shapes, types and devices,
// and make the tensors' device the current one.
#include <cuda_runtime_api.h>
#include <pybind11/pybind11.h>

#include <string>
#include <utility>

#include "../common/frame_prep_binding.h"
#include "frame_prep.h"
#include "motion_bindings.h"

namespace py = pybind11;

namespace {

std::pair<int, std::string> device_count() {
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error != cudaSuccess) return {0, cudaGetErrorString(error)};
  return {count, count ? "" : "the driver reports no device"};
}

}  // namespace

PYBIND11_MODULE(_cuda, m) {
  m.doc() = "CUDA kernels on raw device addresses (see aedmae_fast.ops)";
  m.def("device_count", &device_count, "Number of CUDA devices, and why there is none");
  m.def("build_info", [] { return py::dict(py::arg("archs") = AEDMAE_CUDA_ARCHS, py::arg("cuda") = CUDART_VERSION); });
  m.def("frame_prep", aedmae::frame_prep_binding(&aedmae::frame_prep_cuda));
  aedmae::bind_motion(m);
}
