// attention, compiled once per instruction set: the scores of kRows queries at a time, in the first-level cache.
//
// A block's scores for all keys are there at once, so that the softmax takes its maximum first and is never rescaled.
#pragma once

#include "gemm.h"

namespace aedmae {
namespace AEDMAE_ISA {
namespace {

// Scores [n] of one query -> weights e^(scale * (score - max)) as operands; from n up to `padded`, whole vectors,
// zeros. Returns their sum.
template <class Operand>
float softmax_weights(float* scores, int64_t n, int64_t padded, float scale, Operand* weights) {
  constexpr float kLog2E = 1.44269504f;
  const Float factor = all(scale * kLog2E), sign = all(scale < 0 ? -0.0f : 0.0f);
  for (int64_t j = n; j < padded; ++j) scores[j] = scores[0];  // which leaves the maximum as it is
  Float most = all(-__builtin_inff());
  for (int64_t j = 0; j < n; j += kWidth) most = max(most, (Float)((Uint)load(scores + j) ^ (Uint)sign));
  const Float top = all(max(most)) * abs(factor);
  Float total = all(0);
  for (int64_t j = 0; j < n; j += kWidth) {
    Float weight = exp2<Operand>(fma(load(scores + j), factor, -top));
    if (n - j < kWidth) weight = first_lanes(weight, n - j);
    total += weight;
    store(weights + j, weight);
  }
  return sum(total);
}

template <class T>
void attention(const Attention& a, Scratch& scratch) {
  using Operand = typename OperandOf<T>::type;
  const int64_t padded = round_up(a.n, kWidth);
  auto keys = take_panels<Operand>(scratch, a.d, a.n);
  auto values = take_panels<Operand>(scratch, a.n, a.d);
  const auto room = take_room<Operand, T>(scratch, kRows, a.d);
  auto* scores = take<float>(scratch, kRows * padded);
  auto* weights = take<Operand>(scratch, kRows * padded);
  float scaled[kRows];

  for (int64_t head = 0; head < a.batch * a.heads; ++head) {
    const int64_t b = head / a.heads, h = head % a.heads;
    const auto at = [&](const void* p, const int64_t* stride) {
      return static_cast<const T*>(p) + b * stride[0] + h * stride[1];
    };
    const T* q = at(a.q, a.q_stride);
    pack_transposed(keys, at(a.k, a.k_stride), a.k_stride[2], a.d);
    pack_rows(values, at(a.v, a.v_stride), a.v_stride[2], a.n);
    T* out = static_cast<T*>(a.out) + (b * a.n * a.heads + h) * a.d;

    for (int64_t row = 0; row < a.n; row += kRows) {
      const int64_t rows = least(a.n - row, kRows);
      const auto queries = operands(q + row * a.q_stride[2], a.q_stride[2], rows, a.d, room);
      for (int64_t column = 0; column < a.n; column += kPanel)
        tile_of<Operand>(rows, keys.vecs(column))(queries.data, queries.stride, keys.panel(column), keys.steps,
                                                  scores + column, padded);
      for (int64_t i = 0; i < rows; ++i)
        scaled[i] = 1 / softmax_weights(scores + i * padded, a.n, padded, a.scale, weights + i * padded);
      multiply(weights, padded, rows, values, [&](int64_t i, int64_t column, Float value) {
        store(out + (row + i) * a.heads * a.d + column, value * scaled[i], a.d - column);
      });
    }
  }
}

}  // namespace
}  // namespace AEDMAE_ISA
}  // namespace aedmae
