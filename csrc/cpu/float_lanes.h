// A vector of float32 lanes for the instruction set this translation unit is compiled for.
//
// The compilers' own vector types: arithmetic is written with operators and compiles for every instruction set alike.
#pragma once

#include <cstdint>

namespace aedmae {
namespace AEDMAE_ISA {
namespace {

#if defined(__AVX512F__)
constexpr int kFloats = 16;
#elif defined(__AVX2__)
constexpr int kFloats = 8;
#else
constexpr int kFloats = 4;
#endif

typedef float Floats __attribute__((vector_size(4 * kFloats)));
typedef int32_t Ints __attribute__((vector_size(4 * kFloats)));  // also what comparing Floats gives: 0 or -1 a lane

template <class V>
inline V load_as(const float* p) {  // V: Floats, or float for what is left of a row
  typedef V Unaligned __attribute__((aligned(4), may_alias));
  return *reinterpret_cast<const Unaligned*>(p);
}

template <class V>
inline void store_as(float* p, V a) {
  typedef V Unaligned __attribute__((aligned(4), may_alias));
  *reinterpret_cast<Unaligned*>(p) = a;
}

inline Floats all(float v) { return v - Floats{}; }  // not v + 0: that is an addition, of -0.0

// Calls body(x, V{}) so that every x in 0 .. n-1 is covered once or, where rows end, twice: body must not mind.
template <class Body>
inline void for_lanes(int64_t n, Body body) {
  int64_t x = 0;
  for (; x + kFloats <= n; x += kFloats) body(x, Floats{});
  if (x < n && n >= kFloats)
    body(n - kFloats, Floats{});
  else
    for (; x < n; ++x) body(x, float{});
}

}  // namespace
}  // namespace AEDMAE_ISA
}  // namespace aedmae
