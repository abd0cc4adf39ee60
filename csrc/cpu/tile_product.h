// A tile of a matrix product in registers: kRows rows of A (tokens) by 4 vectors of columns of B, over all of K.
//
// A's rows lie where they are, B is packed as [K][4][kFloats]. K counts words of 32 bits: one float32, or two bfloat16
// whose products are added. Each row's sums run over K in order, so they do not depend on the rows beside it.
#pragma once

#include <cstring>

#include "float_lanes.h"

#if defined(__AVX512BF16__)
#include <immintrin.h>
#endif

namespace aedmae {
namespace AEDMAE_ISA {
namespace {

#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int kRows = 6;  // 32 registers: 24 sums, 4 of B, 1 of A
#else
constexpr int kRows = 3;  // 16 registers: 12 sums, 1 of B, 3 of A
#endif
constexpr int kColumns = 4;

struct Float32 {
  static inline Floats madd(Floats sum, Floats a, Floats b) { return sum + a * b; }
};

#if defined(__AVX512BF16__)
struct BFloat16 {
  static inline Floats madd(Floats sum, Floats a, Floats b) {
    return (Floats)_mm512_dpbf16_ps((__m512)sum, (__m512bh)a, (__m512bh)b);
  }
};
#endif

inline float word_at(const char* p) {
  float word;
  std::memcpy(&word, p, sizeof word);
  return word;
}

// out [kRows][kColumns][kFloats] = start [kColumns][kFloats] + A B
template <class Type>
inline void tile_product(const char* const (&rows)[kRows], const float* __restrict b, int32_t k, const float* start,
                         float* __restrict out) {
  Floats sums[kRows][kColumns];
  for (int m = 0; m < kRows; ++m)
    for (int n = 0; n < kColumns; ++n) sums[m][n] = load_as<Floats>(start + n * kFloats);
  for (int64_t i = 0; i < k; ++i, b += kColumns * kFloats) {
    Floats a[kRows];
    for (int m = 0; m < kRows; ++m) a[m] = all(word_at(rows[m] + 4 * i));
    for (int n = 0; n < kColumns; ++n) {
      const Floats column = load_as<Floats>(b + n * kFloats);
      for (int m = 0; m < kRows; ++m) sums[m][n] = Type::madd(sums[m][n], a[m], column);
    }
  }
  for (int m = 0; m < kRows; ++m)
    for (int n = 0; n < kColumns; ++n) store_as(out + (m * kColumns + n) * kFloats, sums[m][n]);
}

}  // namespace
}  // namespace AEDMAE_ISA
}  // namespace aedmae
