// What Python's bindings have in common. Addresses are those of Tensor.data_ptr().
#pragma once

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>
#include <cstdint>

namespace aedmae {

using NoGil = pybind11::call_guard<pybind11::gil_scoped_release>;
using Shape = std::array<int32_t, 4>;  // count, height, width, channels

template <class T>
T* at(uintptr_t address) {
  return reinterpret_cast<T*>(address);
}

}  // namespace aedmae
