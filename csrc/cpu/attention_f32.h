// attention in float32 where no score is large, as in a trained network: weights need no maximum taken off, and are
// made of a block's scores while those are in the first-level cache.
#pragma once

#include "attention_bounds.h"

#if !defined(__AMX_TILE__)  // whose products are of bfloat16 and levels

namespace aedmae {
namespace AEDMAE_ISA {
namespace {

constexpr int kTogether = 2;  // rows whose weights are made side by side: one alone waits for each of its results

// Scores x become weights 2^(factor * x), of relative error 1e-7.
template <int n>
inline void weights_of(Float (&x)[n], Float factor) {
  const Float magic = all(12582912.0f);  // 1.5 * 2^23: the nearest integer ends up in the lowest bits
  Float shifted[n], p[n];
#pragma GCC unroll 8
  for (int i = 0; i < n; ++i) {
    shifted[i] = fma(x[i], factor, magic);
    x[i] = fma(x[i], factor, magic - shifted[i]);  // what is left of it, in [-0.5, 0.5]
  }
  polynomial(kExp2, x, p);
#pragma GCC unroll 8
  for (int i = 0; i < n; ++i) x[i] = (Float)((Uint)p[i] + ((Uint)shifted[i] << 23));
}

// The scores of kRows queries for the next keys, `live` of them, become their weights, and zeros beyond; the weights'
// sums are added to `totals`.
template <int vecs>
inline void weigh(float* scores, int64_t stride, int64_t live, Float factor, Float* totals) {
  for (int row = 0; row < kRows; row += kTogether) {
    const auto at = [=](int i) { return scores + (row + i / vecs) * stride + i % vecs * kWidth; };
    Float weights[kTogether * vecs];
#pragma GCC unroll 8
    for (int i = 0; i < kTogether * vecs; ++i) weights[i] = load(at(i));
    weights_of(weights, factor);
#pragma GCC unroll 8
    for (int i = 0; i < kTogether * vecs; ++i) {
      const int64_t left = live - i % vecs * kWidth;
      if (left < kWidth) weights[i] = first_lanes(weights[i], left);
      totals[row + i / vecs] += weights[i];
      store(at(i), weights[i]);
    }
  }
}

// Of kRows queries for all keys, in rows of `stride` elements, zeros up to a whole vector; and what to multiply each
// query's by to make them a mean.
inline void weigh_rows(const Rows<float>& queries, const Panels<float>& keys, float factor, float* to, int64_t stride,
                       float* scaled) {
  Float totals[kRows] = {};
  for (int64_t column = 0; column < keys.columns; column += kPanel) {
    block(queries.data, queries.stride, kRows, keys, column, to + column, stride);
    const int64_t live = keys.columns - column;
    if (live >= kPanel) {
      weigh<kVecs>(to + column, stride, kPanel, all(factor), totals);
    } else {
      for (int64_t j = 0; j < live; j += kWidth) weigh<1>(to + column + j, stride, live - j, all(factor), totals);
    }
  }
  for (int i = 0; i < kRows; ++i) scaled[i] = 1 / sum(totals[i]);
}

}  // namespace
}  // namespace AEDMAE_ISA
}  // namespace aedmae

#endif
