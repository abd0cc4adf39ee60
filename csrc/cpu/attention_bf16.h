// attention in bfloat16 where no score is large, as in a trained network: weights need no maximum taken off, and are
// made of the scores in the registers in which their products end.
#pragma once

#include "attention_bounds.h"

#if defined(__AVX512BF16__) && !defined(__AMX_TILE__)

namespace aedmae {
namespace AEDMAE_ISA {
namespace {

// round(128 * (2^(j / 256) - 1)): the bits behind the point of 2^(j / 256) in bfloat16.
struct Mantissas {
  alignas(64) uint8_t bits[256];
};

constexpr Mantissas mantissas() {
  Mantissas m{};
  double power = 1;  // 2^(j / 256)
  for (int j = 0; j < 256; ++j, power *= 1.0027112750502025) m.bits[j] = static_cast<uint8_t>(128 * (power - 1) + 0.5);
  return m;
}

// Scores -> weights in bfloat16. Its 8 bits need no polynomial: the exponent, the format's 127 added, as a fixed-point
// number with 8 bits behind the point, is the weight but for its mantissa, which stands in a table.
class Weights {
 public:
  explicit Weights(float factor) : scale_(all(256 * factor)), offset_(all(256 * 127)) {
    static constexpr Mantissas table = mantissas();
    for (int i = 0; i < 4; ++i) table_[i] = _mm512_load_si512(table.bits + 64 * i);
  }

  // Of two vectors of scores, in their order.
  __m512i of(Float first, Float second) const {
    const __m512i in_order = _mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7);  // packing goes by quarters of a vector
    const __mmask64 low_bytes = 0x5555555555555555;
    const __m512i halves = _mm512_packus_epi32(_mm512_cvtps_epi32(fma(first, scale_, offset_)),
                                               _mm512_cvtps_epi32(fma(second, scale_, offset_)));
    const __m512i fixed = _mm512_permutexvar_epi64(in_order, halves);
    const __mmask64 upper = _mm512_movepi8_mask(fixed);  // bytes from 128 on
    const __m512i mantissa =
        _mm512_or_si512(_mm512_maskz_permutex2var_epi8(low_bytes & ~upper, table_[0], fixed, table_[1]),
                        _mm512_maskz_permutex2var_epi8(low_bytes & upper, table_[2], fixed, table_[3]));
    return _mm512_or_si512(_mm512_and_si512(_mm512_srli_epi16(fixed, 1), _mm512_set1_epi16(0x7f80)), mantissa);
  }

 private:
  Float scale_, offset_;
  __m512i table_[4];
};

// The weights of a query for the first `live` keys of two vectors, zeros for the others; their sum is added to `total`.
inline void weigh(const Weights& weights, Float first, Float second, int64_t live, Bf16* to, Float& total) {
  const __mmask32 mask = live >= 2 * kWidth ? ~__mmask32{0} : (__mmask32{1} << live) - 1;
  const __m512i two = _mm512_maskz_mov_epi16(mask, weights.of(first, second));
  total = _mm512_dpbf16_ps(total, (__m512bh)two, (__m512bh)_mm512_set1_epi32(0x3f803f80));
  _mm512_storeu_si512(to, two);
}

// Weights of kRows queries for the first `live` keys of a panel, zeros for what follows them in it; their sums are
// added to `totals`.
template <int vecs>
void weigh(const Rows<Bf16>& queries, const float* keys, int64_t width, int64_t steps, int64_t live,
           const Weights& weights, Bf16* to, int64_t stride, Float* totals) {
  Float scores[kRows][vecs] = {};
  products<kRows, vecs>(queries.data, queries.stride, keys, width, steps, scores);
#pragma GCC unroll 8
  for (int i = 0; i < kRows; ++i)
#pragma GCC unroll 8
    for (int j = 0; j < vecs; j += 2)
      weigh(weights, scores[i][j], j + 1 < vecs ? scores[i][j + 1] : all(0), live - j * kWidth,
            to + i * stride + j * kWidth, totals[i]);
}

// Weights of kRows queries, in rows of `stride` elements, and what to multiply each query's by to make them a mean.
inline void weigh_rows(const Rows<Bf16>& queries, const Panels<Bf16>& keys, float factor, Bf16* to, int64_t stride,
                       float* scaled) {
  constexpr decltype(&weigh<kVecs>) of_vecs[] = {weigh<1>, weigh<2>, weigh<3>, weigh<4>};
  const Weights weights(factor);
  Float totals[kRows] = {};
  for (int64_t column = 0; column < keys.columns; column += kPanel)
    of_vecs[keys.vecs(column) - 1](queries, keys.panel(column), keys.width(), keys.steps, keys.columns - column,
                                   weights, to + column, stride, totals);
  for (int i = 0; i < kRows; ++i) scaled[i] = 1 / sum(totals[i]);
}

}  // namespace
}  // namespace AEDMAE_ISA
}  // namespace aedmae

#endif
