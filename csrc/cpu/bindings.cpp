// aedmae_fast._cpu: kernels on raw addresses. The callers in aedmae_fast/ops check shapes, types and devices.
#include <pybind11/pybind11.h>

#include "../common/frame_prep_binding.h"
#include "frame_prep.h"
#include "isa.h"
#include "map_bindings.h"
#include "network_bindings.h"

namespace py = pybind11;

#if defined(__clang__)
#define AEDMAE_COMPILER "clang " __VERSION__
#else
#define AEDMAE_COMPILER "gcc " __VERSION__
#endif

PYBIND11_MODULE(_cpu, m) {
  m.doc() = "CPU kernels on raw addresses (see aedmae_fast.ops)";
  m.def("isa", [] { return aedmae::kernels().isa; }, "The instruction set in force");
  m.def("isas", &aedmae::isas, "The instruction sets to be had, best last");
  m.def("set_isa", &aedmae::set_isa, py::arg("isa"), "Force an instruction set; 'auto' takes the best");
  m.def("why_no_amx", &aedmae::why_no_amx, "Why AMX is not to be had; empty where it is");
  m.def("build_info", [] {  // the macros come from setup.py
    return py::dict(py::arg("compiler") = AEDMAE_COMPILER, py::arg("cuda") = AEDMAE_CUDA_STATUS,
                    py::arg("sources") = AEDMAE_SOURCES);
  });
  aedmae::bind_network(m);
  m.def("frame_prep", aedmae::frame_prep_binding(&aedmae::frame_prep_cpu));
  aedmae::bind_maps(m);
}
