// mlp, compiled once per instruction set: a few rows at a time go through both layers, the hidden layer in the cache.
#pragma once

#include "rows.h"

namespace aedmae {
namespace AEDMAE_ISA {
namespace {

template <class T>
void mlp(const Mlp& a, Scratch& scratch) {
  using Operand = typename OperandOf<T>::type;
  constexpr int64_t kBlock = 16 * kRows;
  const int64_t c_padded = round_up(a.c, kWidth), r_padded = round_up(a.r, kWidth);
  const Norm norm = take_norm<T>(scratch, a.norm_weight, a.norm_bias, a.c);
  const float* up_bias = widened<T>(scratch, a.up_bias, a.r);
  const float* down_bias = widened<T>(scratch, a.down_bias, a.c);
  auto up = take_panels<Operand>(scratch, a.c, a.r);
  auto down = take_panels<Operand>(scratch, a.r, a.c);
  pack_transposed(up, static_cast<const T*>(a.up_weight), a.c, a.c);
  pack_transposed(down, static_cast<const T*>(a.down_weight), a.r, a.r);
  auto* y = take<Operand>(scratch, kBlock * c_padded);
  auto* hidden = take<Operand>(scratch, kBlock * r_padded);
  auto* cls = take<float>(scratch, c_padded);

  for (int64_t b = 0; b < a.batch; ++b) {
    const T* x = static_cast<const T*>(a.x) + b * a.n * a.c;
    T* out = static_cast<T*>(a.out) + b * a.n * a.c;
    layer_norm(norm, x, cls, c_padded);
    for (int64_t j = 0; j < a.c; j += kWidth) store(out + j, load(x + j, a.c - j) + load(cls + j), a.c - j);

    for (int64_t row = 1; row < a.n; row += kBlock) {
      const int64_t rows = least(a.n - row, kBlock);
      const T* from = x + row * a.c;
      T* to = out + row * a.c;
      for (int64_t i = 0; i < rows; ++i) layer_norm(norm, from + i * a.c, y + i * c_padded, c_padded);
      multiply(y, c_padded, rows, up, [&](int64_t i, int64_t column, Float value) {
        store(hidden + i * r_padded + column, gelu(value + load(up_bias + column)));
      });
      multiply(hidden, r_padded, rows, down, [&](int64_t i, int64_t column, Float value) {
        const int64_t at = i * a.c + column, live = a.c - column;
        store(to + at, load(from + at, live) + value + load(down_bias + column), live);
      });
    }
  }
}

}  // namespace
}  // namespace AEDMAE_ISA
}  // namespace aedmae
