// The Python signatures of the network's operations.
#pragma once

#include <pybind11/pybind11.h>

namespace aedmae {

void bind_network(pybind11::module_& m);

}  // namespace aedmae
