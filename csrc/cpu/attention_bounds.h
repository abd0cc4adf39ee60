// What attention in bfloat16 needs to know before it may leave out the maximum: a bound of a head's scores, the longest
// query times the longest key (Cauchy-Schwarz).
#pragma once

#include "gemm.h"

#if defined(__AVX512BF16__)

namespace aedmae {
namespace AEDMAE_ISA {
namespace {

// A weight is 2^(exponent - kShift), its exponent being log2(e) * scale * score. With exponents of this size at most it
// is from 2^-120 to 2^60, and of normal precision; sums of its products have another 2^67 for the values.
constexpr float kLargestExponent = 90, kShift = 30;

// An upper bound of the squared length of any of the rows [n, d]: the sum of each lane's largest part in any of them.
inline float longest_row(const Bf16* rows, int64_t stride, int64_t n, int64_t d) {
  float bound = 0;
  for (int64_t k = 0; k < d; k += 2 * kWidth) {
    Float largest = all(0);
    for (int64_t i = 0; i < n; ++i) {
      const auto part = (__m512bh)steps_at<Bf16>(rows + i * stride, k, d);
      largest = max(largest, (Float)_mm512_dpbf16_ps(all(0), part, part));
    }
    bound += sum(largest);
  }
  return bound;
}

// The largest squared length of a column.
inline float longest_column(const Panels<Bf16>& b) {
  Float longest = all(0);
  for (int64_t column = 0; column < b.columns; column += kPanel) {
    for (int64_t j = 0; j < b.vecs(column) * kWidth; j += kWidth) {
      const float* from = b.panel(column) + j;
      Float length = all(0);
      for (int64_t s = 0; s < b.steps; ++s) {
        const auto part = (__m512bh)load(from + s * b.width());
        length = _mm512_dpbf16_ps(length, part, part);
      }
      longest = max(longest, length);
    }
  }
  return max(longest);
}

}  // namespace
}  // namespace AEDMAE_ISA
}  // namespace aedmae

#endif
