// Loops over rows of floats: vectors, and single floats for what is left of a row.
#pragma once

#include "simd_float.h"

namespace aedmae {
namespace AEDMAE_ISA {
namespace {

template <class V>
inline V load_as(const float* p) {  // V: Float or float
  V a;
  std::memcpy(&a, p, sizeof a);
  return a;
}

template <class V>
inline void store_as(float* p, V a) {
  std::memcpy(p, &a, sizeof a);
}

// Calls body(x, V{}) so that every x in 0 .. n-1 is covered once or, where rows end, twice: body must not mind.
template <class Body>
inline void for_lanes(int64_t n, Body body) {
  int64_t x = 0;
  for (; x + kWidth <= n; x += kWidth) body(x, Float{});
  if (x < n && n >= kWidth)
    body(n - kWidth, Float{});
  else
    for (; x < n; ++x) body(x, float{});
}

}  // namespace
}  // namespace AEDMAE_ISA
}  // namespace aedmae
