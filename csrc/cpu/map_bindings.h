#pragma once

#include <pybind11/pybind11.h>

namespace aedmae {

// mean_filter, mean_map, mean_max, motion_gradient, motion_weights, patch_weights, discrepancy_map
void bind_maps(pybind11::module_& m);

}  // namespace aedmae
