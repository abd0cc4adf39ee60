// The byte loops of motion_weights, compiled once per instruction set. The compiler vectorises them as they stand.
#pragma once

#include "motion_weights.h"

namespace aedmae {
namespace AEDMAE_ISA {
namespace {

inline uint8_t larger_of(uint8_t a, uint8_t b) { return a > b ? a : b; }
inline uint8_t distance(uint8_t a, uint8_t b) {
  const uint8_t high = a > b ? a : b, low = a > b ? b : a;
  return static_cast<uint8_t>(high - low);
}

void difference(const uint8_t* a, const uint8_t* b, int64_t n, uint8_t* __restrict out) {
  for (int64_t i = 0; i < n; ++i) out[i] = distance(a[i], b[i]);
}

void peak(const uint8_t* a, const uint8_t* b, int64_t n, uint8_t* __restrict most) {
  for (int64_t i = 0; i < n; ++i) most[i] = larger_of(most[i], distance(a[i], b[i]));
}

void peak_where(const uint8_t* a, const uint8_t* mask, int64_t n, uint8_t* __restrict most) {
  for (int64_t i = 0; i < n; ++i) most[i] = larger_of(most[i], a[i] & mask[i]);
}

void larger(const uint8_t* a, const uint8_t* b, int64_t n, uint8_t* __restrict out) {
  for (int64_t i = 0; i < n; ++i) out[i] = larger_of(a[i], b[i]);
}

}  // namespace

extern const MotionKernels motion_kernels{difference, peak, peak_where, larger};

}  // namespace AEDMAE_ISA
}  // namespace aedmae
