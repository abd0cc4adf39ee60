// linear, compiled once per instruction set.
#pragma once

#include "rows.h"

namespace aedmae {
namespace AEDMAE_ISA {
namespace {

template <class T>
void linear(const Linear& a, Scratch& scratch) {
  using Operand = typename OperandOf<T>::type;
  constexpr int64_t kBlock = 16 * kRows;
  const float* bias = widened<T>(scratch, a.bias, a.n);
  auto weight = take_panels<Operand>(scratch, a.k, a.n);
  pack_transposed(weight, static_cast<const T*>(a.weight), a.k, a.k);
  auto* room = take<Operand>(scratch, operand_room<Operand>(kBlock, a.k));

  for (int64_t row = 0; row < a.rows; row += kBlock) {
    const int64_t rows = least(a.rows - row, kBlock);
    const auto x = operands(static_cast<const T*>(a.x) + row * a.k, a.k, rows, a.k, room);
    const T* residual = a.residual ? static_cast<const T*>(a.residual) + row * a.n : nullptr;
    T* out = static_cast<T*>(a.out) + row * a.n;
    multiply(x.data, x.stride, rows, weight, [&](int64_t i, int64_t column, Float value) {
      const int64_t at = i * a.n + column, live = a.n - column;
      value += load(bias + column);
      store(out + at, residual ? load(residual + at, live) + value : value, live);
    });
  }
}

}  // namespace
}  // namespace AEDMAE_ISA
}  // namespace aedmae
