// What attention needs to know before it may leave out the maximum: a bound of a head's scores, the longest
// query times the longest key (Cauchy-Schwarz).
#pragma once

#include "gemm.h"

namespace aedmae {
namespace AEDMAE_ISA {
namespace {

// A weight is 2^exponent, its exponent being log2(e) * scale * score. With exponents of this size at most, products
// with values from 2^-66 on are of normal precision, and a few thousand of them with values up to 2^55 add up to no
// infinity.
constexpr float kLargestExponent = 60;

// An operand's part of the steps of a vector, squared and added to `sums`.
inline Float add_squares(const float*, Float steps, Float sums) { return fma(steps, steps, sums); }
#if defined(__AVX512BF16__)
inline Float add_squares(const Bf16*, Float steps, Float sums) {
  return _mm512_dpbf16_ps(sums, (__m512bh)steps, (__m512bh)steps);
}
#endif

// The larger of squares as integers: in the same order, and NaN, which must not get lost, above them all.
inline Int larger(Int a, Float b) { return a > (Int)abs(b) ? a : (Int)abs(b); }

// An upper bound of the squared length of any of the rows [n, d]: the sum of each lane's largest part in any of them.
// NaN where there is one.
template <class Operand, class T>
float longest_row(const T* rows, int64_t stride, int64_t n, int64_t d) {
  constexpr int64_t kElements = kWidth * kPerStep<Operand>;
  constexpr const Operand* kOf = nullptr;
  float bound = 0;
  for (int64_t k = 0; k < d; k += kElements) {
    Int largest{};
    for (int64_t i = 0; i < n; ++i)
      largest = larger(largest, add_squares(kOf, steps_at<Operand>(rows + i * stride, k, d), all(0)));
    bound += sum((Float)largest);
  }
  return bound;
}

// The largest squared length of a column; NaN where one is.
template <class Operand>
float longest_column(const Panels<Operand>& b) {
  constexpr const Operand* kOf = nullptr;
  Int longest{};
  for (int64_t column = 0; column < b.columns; column += kPanel) {
    for (int64_t j = 0; j < b.vecs(column) * kWidth; j += kWidth) {
      const float* from = b.panel(column) + j;
      Float length = all(0);
      for (int64_t s = 0; s < b.steps; ++s) length = add_squares(kOf, load(from + s * b.width()), length);
      longest = larger(longest, length);
    }
  }
  const int32_t most = max(longest);
  float squared;
  std::memcpy(&squared, &most, sizeof squared);
  return squared;
}

}  // namespace
}  // namespace AEDMAE_ISA
}  // namespace aedmae
