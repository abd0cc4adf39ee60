// The Python functions of the motion kernels, for aedmae_fast._cuda.
#pragma once

#include <pybind11/pybind11.h>

namespace aedmae {

void bind_motion(pybind11::module_& m);

}  // namespace aedmae
