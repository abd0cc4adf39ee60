// attention, compiled once per instruction set: the scores of kRows queries at a time, in the first-level cache.
//
// A block's scores for all keys are there at once, so that the softmax takes its maximum first and is never rescaled. In
// bfloat16 most heads need no maximum: attention_bf16.h, where their scores never leave the registers, attention_amx.h.
#pragma once

#include <cmath>

#include "attention_amx.h"
#include "attention_bf16.h"
#include "gemm.h"

namespace aedmae {
namespace AEDMAE_ISA {
namespace {

// A negative scale is a positive one of the opposite keys: then the largest score has the largest weight.
template <class Operand>
void negate(Panels<Operand>& b) {
  const Uint signs = Uint{} + (sizeof(Operand) == sizeof(float) ? 0x80000000 : 0x80008000);
  for (int64_t i = 0; i < b.size(); i += kWidth)
    store(b.data + i, (Float)((Uint)load(b.data + i) ^ signs));
}

// The larger of `most` and the scores [n] of a panel, lane by lane.
inline Float largest(const float* scores, int64_t n, Float most) {
  if (n >= kPanel) {
    Float lanes = load(scores);
#pragma GCC unroll 4
    for (int j = 1; j < kVecs; ++j) lanes = max(lanes, load(scores + j * kWidth));
    return max(most, lanes);
  }
  for (; n >= kWidth; n -= kWidth, scores += kWidth) most = max(most, load(scores));
  return n ? max(most, first_lanes(load(scores), n, most)) : most;
}

// Scores [n] of one query -> weights 2^(factor * (score - most)) as operands, [room], zeros from n on; they may take
// the scores' place. Returns their sum.
template <class Operand>
float softmax_weights(const float* scores, int64_t n, float most, float factor, Operand* weights, int64_t room) {
  const auto weight_of = [=](int64_t j) {
    return exp2<Operand>(fma(load(scores + j), all(factor), all(-most * factor)));
  };
  Float total = all(0);
  int64_t j = 0;
  for (; j + kWidth <= n; j += kWidth) {
    const Float weight = weight_of(j);
    total += weight;
    store(weights + j, weight);
  }
  if (j < n) {
    const Float weight = first_lanes(weight_of(j), n - j);
    total += weight;
    store(weights + j, weight);
    j += kWidth;
  }
  for (; j < room; j += kWidth) store(weights + j, all(0));
  return sum(total);
}

template <class T>
void attention(const Attention& a, Scratch& scratch) {
  using Operand = typename OperandOf<T>::type;
  const int64_t padded = padded_row<Operand>(a.n);
  auto keys = take_panels<Operand>(scratch, a.d, a.n);
  auto values = take_panels<Operand>(scratch, a.n, a.d);
  const auto room = take_room<Operand, T>(scratch, kRows, a.d);
  auto* scores = take<float>(scratch, kRows * padded);
  auto* weights = reinterpret_cast<Operand*>(scores);  // no longer than the scores: all stays in the first-level cache
  const int64_t weights_stride = padded * static_cast<int64_t>(sizeof(float) / sizeof(Operand));
  constexpr float kLog2E = 1.44269504f;
  const float factor = __builtin_fabsf(a.scale) * kLog2E;
  Float most[kRows];
  float scaled[kRows];

  for (int64_t head = 0; head < a.batch * a.heads; ++head) {
    const int64_t b = head / a.heads, h = head % a.heads;
    const auto at = [&](const void* p, const int64_t* stride) {
      return static_cast<const T*>(p) + b * stride[0] + h * stride[1];
    };
    const T* q = at(a.q, a.q_stride);
    pack_transposed(keys, at(a.k, a.k_stride), a.k_stride[2], a.d);
    if (a.scale < 0) negate(keys);
    pack_rows(values, at(a.v, a.v_stride), a.v_stride[2], a.n);
    T* out = static_cast<T*>(a.out) + (b * a.n * a.heads + h) * a.d;

    const auto store_means = [&](int64_t row, int64_t rows) {  // of the values, by the weights of so many queries
      multiply(weights, weights_stride, rows, values, by_row([&](int64_t i, int64_t column, Float value) {
        store(out + (row + i) * a.heads * a.d + column, value * scaled[i], a.d - column);
      }));
    };
#if defined(__AVX512BF16__)
    if constexpr (std::is_same_v<Operand, Bf16>) {
      const float largest = std::sqrt(longest_row(q, a.q_stride[2], a.n, a.d) * longest_column(keys));
      if (a.n >= kRows && largest * factor <= kLargestExponent) {
        for (int64_t row = 0; row < a.n; row += kRows) {
          row = least(row, a.n - kRows);  // the last block begins earlier: some rows come out once more, as they were
          const auto queries = operands(q + row * a.q_stride[2], a.q_stride[2], kRows, a.d, room);
          weigh_rows(queries, keys, factor, weights, weights_stride, scaled);
          store_means(row, kRows);
        }
        continue;
      }
    }
#endif
    for (int64_t row = 0; row < a.n; row += kRows) {
      const int64_t rows = least(a.n - row, kRows);
      const auto queries = operands(q + row * a.q_stride[2], a.q_stride[2], rows, a.d, room);
      for (Float& lanes : most) lanes = all(-__builtin_inff());
      for (int64_t column = 0; column < a.n; column += kPanel) {
        block(queries.data, queries.stride, rows, keys, column, scores + column, padded);
        for (int64_t i = 0; i < rows; ++i)  // here, where it costs nothing: the next block is under way meanwhile
          most[i] = largest(scores + i * padded + column, a.n - column, most[i]);
      }
      for (int64_t i = 0; i < rows; ++i)
        scaled[i] =
            1 / softmax_weights(scores + i * padded, a.n, max(most[i]), factor, weights + i * weights_stride, padded);
      store_means(row, rows);
    }
  }
}

}  // namespace
}  // namespace AEDMAE_ISA
}  // namespace aedmae
