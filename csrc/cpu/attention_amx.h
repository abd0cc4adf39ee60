// attention in bfloat16 without a maximum, as attention_bf16.h says, where AMX has the products: scores lie in the
// first-level cache when they become weights.
#pragma once

#include "attention_bounds.h"

#if defined(__AMX_TILE__)

namespace aedmae {
namespace AEDMAE_ISA {
namespace {

// Scores -> weights in bfloat16, two vectors of each of n queries side by side.
//
// The exponent, the format's 127 added, as a fixed-point number with f of 256 behind the point, is the weight but for
// what 1 + f is larger than 2^f. That is a parabola to half of the format's last bit. Tables are slow on CPUs with AMX.
class Weights {
 public:
  explicit Weights(float factor) : scale_(all(256 * factor)), offset_(all(256 * 127)) {}

  template <int n>
  void of(const Float (&first)[n], const Float (&second)[n], __m512i (&weights)[n]) const {
    const __m512i in_order = _mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7);  // packing goes by quarters of a vector
    const __m512i behind = _mm512_set1_epi16(255), one = _mm512_set1_epi16(256), bend = _mm512_set1_epi16(44);
    __m512i f[n];
#pragma GCC unroll 8
    for (int i = 0; i < n; ++i)
      weights[i] = _mm512_packus_epi32(_mm512_cvtps_epi32(fma(first[i], scale_, offset_)),
                                       _mm512_cvtps_epi32(fma(second[i], scale_, offset_)));
#pragma GCC unroll 8
    for (int i = 0; i < n; ++i) {
      weights[i] = _mm512_permutexvar_epi64(in_order, weights[i]);
      f[i] = _mm512_and_si512(weights[i], behind);
    }
#pragma GCC unroll 8
    for (int i = 0; i < n; ++i)  // 0.344 * f * (1 - f), twice as fine as the format's last bit
      f[i] = _mm512_mulhrs_epi16(_mm512_mullo_epi16(f[i], _mm512_sub_epi16(one, f[i])), bend);
#pragma GCC unroll 8
    for (int i = 0; i < n; ++i) weights[i] = _mm512_avg_epu16(_mm512_sub_epi16(weights[i], f[i]), __m512i{});
  }

 private:
  Float scale_, offset_;
};

// Of kRows queries for all keys, in rows of `stride` elements, zeros up to a whole tile; and what to multiply each
// query's by to make them a mean.
inline void weigh_rows(const Rows<Bf16>& queries, const Panels<Bf16>& keys, float factor, Bf16* to, int64_t stride,
                       float* scaled) {
  const Weights weights(factor);
  const auto ones = (__m512bh)_mm512_set1_epi32(0x3f803f80);
  Float totals[kRows] = {};
  alignas(64) float scores[2][kRows * kPanel];
  int turn = 0;
  for (int64_t column = 0; column < keys.columns + kPanel; column += kPanel, turn ^= 1) {  // weights lag
    if (column < keys.columns) block(queries.data, queries.stride, kRows, keys, column, scores[turn], kPanel);
    if (column == 0) continue;
    const int64_t last = column - kPanel, live = keys.columns - last;
    const __mmask32 mask = live >= kPanel ? ~__mmask32{0} : (__mmask32{1} << live) - 1;
    for (int row = 0; row < kRows; row += kAtOnce) {
      Float first[kAtOnce], second[kAtOnce];
      __m512i two[kAtOnce];
#pragma GCC unroll 8
      for (int i = 0; i < kAtOnce; ++i) {
        const float* from = scores[turn ^ 1] + (row + i) * kPanel;
        first[i] = load(from), second[i] = load(from + kWidth);  // what the mask leaves out of them may be anything
      }
      weights.of(first, second, two);
#pragma GCC unroll 8
      for (int i = 0; i < kAtOnce; ++i) {
        two[i] = _mm512_maskz_mov_epi16(mask, two[i]);
        totals[row + i] = _mm512_dpbf16_ps(totals[row + i], (__m512bh)two[i], ones);
        _mm512_storeu_si512(to + (row + i) * stride + last, two[i]);
      }
    }
  }
  for (int i = 0; i < kRows; ++i) scaled[i] = 1 / sum(totals[i]);
}

}  // namespace
}  // namespace AEDMAE_ISA
}  // namespace aedmae

#endif
