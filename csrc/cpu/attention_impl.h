// attention, compiled once per instruction set: the scores of kRows queries at a time, in the first-level cache.
#pragma once

#include "attention_weights.h"

namespace aedmae {
namespace AEDMAE_ISA {
namespace {

template <class T>
void attention(const Attention& a, Scratch& scratch) {
  using Operand = typename OperandOf<T>::type;
  Queries<T, Operand> queries(scratch, a.n, a.d, a.scale);
  auto values = take_panels<Operand>(scratch, a.n, a.d);
  for (int64_t head = 0; head < a.batch * a.heads; ++head) {
    const int64_t b = head / a.heads, h = head % a.heads;
    const auto at = [&](const void* p, const int64_t* stride) {
      return static_cast<const T*>(p) + b * stride[0] + h * stride[1];
    };
    queries.take_head(at(a.q, a.q_stride), a.q_stride[2], at(a.k, a.k_stride), a.k_stride[2]);
    pack_rows(values, at(a.v, a.v_stride), a.v_stride[2], a.n);
    T* out = static_cast<T*>(a.out) + (b * a.n * a.heads + h) * a.d;
    for (int64_t row = 0; row < a.n; row += kRows) {
      const int64_t first = queries.weigh(row), rows = least(a.n - first, kRows);
      multiply(queries.weights, queries.stride, rows, values, by_row([&](int64_t i, int64_t column, Float value) {
        store(out + (first + i) * a.heads * a.d + column, value * queries.scaled[i], a.d - column);
      }));
    }
  }
}

}  // namespace
}  // namespace AEDMAE_ISA
}  // namespace aedmae
