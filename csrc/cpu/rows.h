// What the network's kernels do with the rows of their tensors: parameters widened once a call, LayerNorm.
#pragma once

#include "gemm.h"

namespace aedmae {
namespace AEDMAE_ISA {
namespace {

// Parameters [rows, n] as float, each row padded with zeros to whole vectors.
template <class T>
const float* widened(Scratch& scratch, const void* parameters, int64_t n, int64_t rows = 1) {
  const int64_t padded = round_up(n, kWidth);
  float* to = take<float>(scratch, rows * padded);
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < n; j += kWidth)
      store(to + i * padded + j, load(static_cast<const T*>(parameters) + i * n + j, n - j));
  return to;
}

struct Norm {
  const float *weight, *bias;  // from `widened`
  int64_t c;
};

template <class T>
Norm take_norm(Scratch& scratch, const void* weight, const void* bias, int64_t c) {
  return {widened<T>(scratch, weight, c), widened<T>(scratch, bias, c), c};
}

// LayerNorm of a row, eps 1e-6, to `to`, which has `room` elements: zeros beyond the row's end.
template <class T, class To>
void layer_norm(const Norm& norm, const T* x, To* to, int64_t room) {
  const int64_t c = norm.c;
  Float total = all(0), squares = all(0);
  for (int64_t j = 0; j < c; j += kWidth) total += load(x + j, c - j);
  const Float mean = all(sum(total) / static_cast<float>(c));
  for (int64_t j = 0; j < c; j += kWidth) {
    Float d = load(x + j, c - j) - mean;
    if (c - j < kWidth) d = first_lanes(d, c - j);
    squares = fma(d, d, squares);
  }
  const Float scale = all(1 / __builtin_sqrtf(sum(squares) / static_cast<float>(c) + 1e-6f));
  for (int64_t j = 0; j < c; j += kWidth)
    store(to + j, fma((load(x + j, c - j) - mean) * scale, load(norm.weight + j), load(norm.bias + j)), room - j);
}

}  // namespace
}  // namespace AEDMAE_ISA
}  // namespace aedmae
