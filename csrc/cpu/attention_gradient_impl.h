// The gradient of attention, compiled once per instruction set. With P the weights of a head [N, N], and dS the
// gradient of its scores, P * (dO V^T - rowwise sum of dO * O):
//
//   dV = P^T dO,   dQ = scale * dS K,   dK = scale * dS^T Q
//
// P is made once more, a few queries at a time; both matrices are kept, packed, for the products along the queries.
#pragma once

#include "attention_weights.h"

namespace aedmae {
namespace AEDMAE_ISA {
namespace {

// [n, d] -> operands [d, n], with zeros up to the end of the last steps.
template <class Operand, class T>
void transpose_rows(const T* from, int64_t from_stride, int64_t n, int64_t d, Operand* to, int64_t stride) {
  for (int64_t j = 0; j < d; j += kWidth)
    for (int64_t i = 0; i < stride; i += kWidth) {
      Float rows[kWidth];
      for (int r = 0; r < kWidth; ++r)
        rows[r] = i + r < n ? load(from + (i + r) * from_stride + j, d - j) : all(0);
      transpose(rows);
      for (int64_t r = 0; r < least(d - j, kWidth); ++r) store(to + (j + r) * stride + i, rows[r]);
    }
}

// to [n, d] = factor * a [d, n] times B [n, n], transposed. `room` has d rows of round_up(n, kWidth).
template <class T, class Operand>
void multiply_transposed(const Operand* a, int64_t a_stride, int64_t d, const Panels<Operand>& b, float factor,
                         float* room, T* to, int64_t to_stride) {
  const int64_t n = b.columns, stride = round_up(n, kWidth);
  multiply(a, a_stride, d, b, by_row([=](int64_t row, int64_t column, Float value) {
    store(room + row * stride + column, value * factor);
  }));
  for (int64_t i = 0; i < n; i += kWidth)
    for (int64_t j = 0; j < d; j += kWidth) {
      Float rows[kWidth];
      for (int r = 0; r < kWidth; ++r) rows[r] = j + r < d ? load(room + (j + r) * stride + i) : all(0);
      transpose(rows);
      for (int64_t r = 0; r < least(n - i, kWidth); ++r) store(to + (i + r) * to_stride + j, rows[r], d - j);
    }
}

template <class T>
float dot(const T* a, const T* b, int64_t n) {
  Float total = all(0);
  for (int64_t i = 0; i < n; i += kWidth) total = fma(load(a + i, n - i), load(b + i, n - i), total);
  return sum(total);
}

template <class T>
void attention_gradient(const AttentionGradient& g, Scratch& scratch) {
  using Operand = typename OperandOf<T>::type;
  const Attention& a = g.attention;
  const int64_t n = a.n, d = a.d, stride = a.heads * d;  // of rows of O and of all gradients
  const int64_t padded = padded_row<Operand>(n);
  Queries<T, Operand> queries(scratch, n, d, a.scale);
  auto keys = take_panels<Operand>(scratch, n, d), values = take_panels<Operand>(scratch, d, n);
  auto weights = take_panels<Operand>(scratch, n, n), scores = take_panels<Operand>(scratch, n, n);  // P and dS
  auto* few_scores = take<Operand>(scratch, kRows * padded);
  std::memset(few_scores, 0, kRows * padded * sizeof(Operand));  // what is beyond n stays so
  const auto grad_room = take_room<Operand, T>(scratch, kRows, d);
  auto* transposed = take<Operand>(scratch, d * padded);
  auto* room = take<float>(scratch, d * round_up(n, kWidth));

  for (int64_t head = 0; head < a.batch * a.heads; ++head) {
    const int64_t b = head / a.heads, h = head % a.heads, offset = (b * n * a.heads + h) * d;
    const auto at = [&](const void* p, const int64_t* strides) {
      return static_cast<const T*>(p) + b * strides[0] + h * strides[1];
    };
    const T *q = at(a.q, a.q_stride), *k = at(a.k, a.k_stride);
    const T *out = static_cast<const T*>(a.out) + offset, *grad = static_cast<const T*>(g.grad) + offset;
    T *dq = static_cast<T*>(g.dq) + offset, *dk = static_cast<T*>(g.dk) + offset, *dv = static_cast<T*>(g.dv) + offset;
    queries.take_head(q, a.q_stride[2], k, a.k_stride[2]);
    pack_rows(keys, k, a.k_stride[2], n);
    pack_transposed(values, at(a.v, a.v_stride), a.v_stride[2], d);
    for (int64_t row = 0; row < n; row += kRows) {
      const int64_t first = queries.weigh(row), rows = least(n - first, kRows);
      float sums[kRows];  // of dO * O
      for (int64_t i = 0; i < rows; ++i) sums[i] = dot(grad + (first + i) * stride, out + (first + i) * stride, d);
      const auto grads = operands(grad + first * stride, stride, rows, d, grad_room);
      multiply(grads.data, grads.stride, rows, values, by_row([&](int64_t i, int64_t column, Float value) {
        Operand* weight = queries.weights + i * queries.stride + column;
        const Float normal = load(weight) * queries.scaled[i];
        store(weight, normal);
        store(few_scores + i * padded + column, normal * (value - sums[i]));
      }));
      multiply(few_scores, padded, rows, keys, by_row([&](int64_t i, int64_t column, Float value) {
        store(dq + (first + i) * stride + column, value * a.scale, d - column);
      }));
      const int64_t behind = first + rows, known = row - first;  // rows that are packed already
      pack_some_rows(weights, queries.weights + known * queries.stride, queries.stride, n, row, behind);
      pack_some_rows(scores, few_scores + known * padded, padded, n, row, behind);
    }
    transpose_rows(grad, stride, n, d, transposed, padded);
    multiply_transposed(transposed, padded, d, weights, 1, room, dv, stride);
    transpose_rows(q, a.q_stride[2], n, d, transposed, padded);
    multiply_transposed(transposed, padded, d, scores, a.scale, room, dk, stride);
  }
}

}  // namespace
}  // namespace AEDMAE_ISA
}  // namespace aedmae
