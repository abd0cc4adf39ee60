// linear, compiled once per instruction set.
#pragma once

#include "layer.h"

namespace aedmae {
namespace AEDMAE_ISA {
namespace {

template <class T, class Operand>
void linear(const Linear& a, Scratch& scratch) {
  const auto layer = take_layer<Operand, T>(scratch, a.weight, a.packed, a.bias, a.scale, a.k, a.n);
  const auto room = take_room<Operand, T>(scratch, kBlock, a.k);

  for (int64_t row = 0; row < a.rows; row += kBlock) {
    const int64_t rows = least(a.rows - row, kBlock);
    const auto x = operands(static_cast<const T*>(a.x) + row * a.k, a.k, rows, a.k, room);
    const T* residual = a.residual ? static_cast<const T*>(a.residual) + row * a.n : nullptr;
    T* out = static_cast<T*>(a.out) + row * a.n;
    apply(x, rows, layer, by_row([&](int64_t i, int64_t column, Float value) {
      const int64_t at = i * a.n + column, live = a.n - column;
      store(out + at, residual ? load(residual + at, live) + value : value, live);
    }));
  }
}

}  // namespace
}  // namespace AEDMAE_ISA
}  // namespace aedmae
