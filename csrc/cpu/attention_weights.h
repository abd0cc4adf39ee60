// The weights of attention, of a few queries at a time: for its result and for its gradient.
//
// A block's scores for all keys are there at once, so that the softmax takes its maximum first and is never rescaled.
// Most heads need no maximum: attention_f32.h, attention_bf16.h, where their scores never leave the registers,
// attention_amx.h.
#pragma once

#include <cmath>

#include "attention_amx.h"
#include "attention_bf16.h"
#include "attention_f32.h"
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

// The queries of one head after the other, kRows at a time: their weights for all keys as operands.
template <class T, class Operand>
class Queries {
 public:
  const int64_t stride;    // from row to row of the weights
  Operand* const weights;  // [kRows, n], not normalised, zeros up to the end of the last steps
  float scaled[kRows];     // what to multiply a row's by to make them a mean

  Queries(Scratch& scratch, int64_t n, int64_t d, float scale)
      : stride(padded_row<Operand>(n) * static_cast<int64_t>(sizeof(float) / sizeof(Operand))),
        weights(reinterpret_cast<Operand*>(take<float>(scratch, kRows * padded_row<Operand>(n)))),
        keys_(take_panels<Operand>(scratch, d, n)),
        room_(take_room<Operand, T>(scratch, kRows, d)),
        n_(n),
        d_(d),
        scale_(scale) {}

  // Takes the queries and the keys [n, d] of a head.
  void take_head(const T* q, int64_t q_stride, const T* k, int64_t k_stride) {
    q_ = q, q_stride_ = q_stride;
    pack_transposed(keys_, k, k_stride, d_);
    if (scale_ < 0) negate(keys_);
    const float largest = std::sqrt(longest_row<Operand>(q, q_stride, n_, d_) * longest_column(keys_));
    bounded_ = n_ >= kRows && largest * factor() <= kLargestExponent;
  }

  // Makes the weights of kRows queries or, of the last, as many as there are. Returns the first of them: `row`, or,
  // where a block must be whole, an earlier one for the last: some rows come out once more, as they were.
  int64_t weigh(int64_t row) {
    if (bounded_) {
      row = least(row, n_ - kRows);
      const auto queries = operands(q_ + row * q_stride_, q_stride_, kRows, d_, room_);
      weigh_rows(queries, keys_, factor(), weights, stride, scaled);
      return row;
    }
    auto* scores = reinterpret_cast<float*>(weights);  // no shorter than they: all stays in the first-level cache
    const int64_t rows = least(n_ - row, kRows), padded = padded_row<Operand>(n_);
    const auto queries = operands(q_ + row * q_stride_, q_stride_, rows, d_, room_);
    Float most[kRows];
    for (Float& lanes : most) lanes = all(-__builtin_inff());
    for (int64_t column = 0; column < n_; column += kPanel) {
      block(queries.data, queries.stride, rows, keys_, column, scores + column, padded);
      for (int64_t i = 0; i < rows; ++i)  // here, where it costs nothing: the next block is under way meanwhile
        most[i] = largest(scores + i * padded + column, n_ - column, most[i]);
    }
    for (int64_t i = 0; i < rows; ++i)
      scaled[i] =
          1 / softmax_weights(scores + i * padded, n_, max(most[i]), factor(), weights + i * stride, padded);
    return row;
  }

 private:
  float factor() const {
    constexpr float kLog2E = 1.44269504f;
    return __builtin_fabsf(scale_) * kLog2E;
  }

  Panels<Operand> keys_;
  Room<Operand> room_;
  int64_t n_, d_;
  float scale_;
  const T* q_ = nullptr;
  int64_t q_stride_ = 0;
  bool bounded_ = false;  // no weight overflows without a maximum taken off
};

}  // namespace
}  // namespace AEDMAE_ISA
}  // namespace aedmae
