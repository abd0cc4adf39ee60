// mlp, compiled once per instruction set: a few rows at a time go through both layers, the hidden layer in the cache.
#pragma once

#include "layer.h"

namespace aedmae {
namespace AEDMAE_ISA {
namespace {

template <class T, class Operand>
void mlp(const Mlp& a, Scratch& scratch) {
  const int64_t c_padded = round_up(a.c, kWidth), r_padded = round_up(a.r, kWidth);
  const Norm norm = take_norm<T>(scratch, a.norm_weight, a.norm_bias, a.c);
  const auto up = take_layer<Operand, T>(scratch, a.up_weight, a.packed, a.up_bias, a.up_scale, a.c, a.r);
  const auto down = take_layer<Operand, T>(scratch, a.down_weight, a.packed, a.down_bias, a.down_scale, a.r, a.c);
  auto* y = take<Staged<Operand>>(scratch, kBlock * c_padded);
  auto* hidden = take<Staged<Operand>>(scratch, kBlock * r_padded);
  const auto y_room = take_room<Operand, Staged<Operand>>(scratch, kBlock, c_padded);
  const auto hidden_room = take_room<Operand, Staged<Operand>>(scratch, kBlock, r_padded);
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
      const auto normed = operands(y, c_padded, rows, c_padded, y_room);
      apply(normed, rows, up, [&](int64_t i, int64_t column, auto& vectors) __attribute__((always_inline)) {
        gelu(vectors);
        for (const Float& vector : vectors) store(hidden + i++ * r_padded + column, vector);
      });
      const auto active = operands(hidden, r_padded, rows, r_padded, hidden_room);
      apply(active, rows, down, by_row([&](int64_t i, int64_t column, Float value) {
        const int64_t at = i * a.c + column, live = a.c - column;
        store(to + at, load(from + at, live) + value, live);
      }));
    }
  }
}

}  // namespace
}  // namespace AEDMAE_ISA
}  // namespace aedmae
