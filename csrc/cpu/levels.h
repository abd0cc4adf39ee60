// Quantized rows, and the products of their levels -127..127, exact in int32 on every instruction set.
//
// VNNI multiplies unsigned bytes by signed ones: rows are kept kLift higher, and what that adds to a sum, kLift times
// the sum of the weights, is taken off at its end. Elsewhere levels are int16, multiplied in pairs (pmaddwd; pmaddubsw,
// of bytes, saturates).
#pragma once

#include "simd_float.h"

#if defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace aedmae {
namespace AEDMAE_ISA {
namespace {

#if defined(__AVX512VNNI__)
using Level = uint8_t;
constexpr int kLift = 128;
#else
using Level = int16_t;
constexpr int kLift = 0;
#endif
constexpr float kLargest = 127;
constexpr float kTiny = 7.8886091e-31f;  // 2^-100: below, a row is zeros

// The nearest integers, ties to even.
inline Int nearest(Float a) {
#if defined(__AVX512F__)
  return (Int)_mm512_cvtps_epi32(a);
#elif defined(__AVX2__)
  return (Int)_mm256_cvtps_epi32(a);
#elif defined(__SSE2__)
  return (Int)_mm_cvtps_epi32(a);
#else
  return (Int)vcvtnq_s32_f32((float32x4_t)a);
#endif
}

inline Float to_float(Int a) { return __builtin_convertvector(a, Float); }

inline void store_levels(Level* to, Int levels) {
  typedef Level Levels __attribute__((vector_size(sizeof(Level) * kWidth)));
  const Levels narrow = __builtin_convertvector(levels + kLift, Levels);
  std::memcpy(to, &narrow, sizeof narrow);
}

// c + the products of the levels of one step, the same in all lanes, and the weights of that step and kWidth columns.
inline Int multiply_add(const Level* a, Float b, Int c) {
  int32_t step;
  std::memcpy(&step, a, sizeof step);
#if defined(__AVX512VNNI__)
  return (Int)_mm512_dpbusd_epi32((__m512i)c, _mm512_set1_epi32(step), (__m512i)b);
#elif defined(__AVX512F__)
  return c + (Int)_mm512_madd_epi16(_mm512_set1_epi32(step), (__m512i)b);
#elif defined(__AVX2__)
  return c + (Int)_mm256_madd_epi16(_mm256_set1_epi32(step), (__m256i)b);
#elif defined(__SSE2__)
  return c + (Int)_mm_madd_epi16(_mm_set1_epi32(step), (__m128i)b);
#else
  const Int both = (Int)b;
  return c + static_cast<int16_t>(step) * (both << 16 >> 16) + (step >> 16) * (both >> 16);
#endif
}

// Quantizes a row to `to`, which has room for whole vectors; returns its scale.
template <class T>
float quantize(const T* x, int64_t size, Level* to) {
  Int most{};  // magnitudes as integers: in the same order, and NaN, which must not get lost, above them all
  for (int64_t j = 0; j < size; j += kWidth) {
    const Int magnitude = (Int)abs(load(x + j, size - j));
    most = magnitude > most ? magnitude : most;
  }
  const int32_t largest = max(most);
  float m;
  std::memcpy(&m, &largest, sizeof m);
  if (m < kTiny) m = 0;
  const Float inverse = all(m == 0 ? 0 : kLargest / m);
  for (int64_t j = 0; j < size; j += kWidth) store_levels(to + j, nearest(load(x + j, size - j) * inverse));
  return m / kLargest;
}

}  // namespace
}  // namespace AEDMAE_ISA
}  // namespace aedmae
