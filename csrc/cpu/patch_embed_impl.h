// patch_embed, compiled once per instruction set: a few visible patches at a time are gathered and multiplied, and
// LayerNorm takes the rows from the cache. Pixels are exact as operands: bfloat16 holds 0..255.
#pragma once

#include "rows.h"

namespace aedmae {
namespace AEDMAE_ISA {
namespace {

// The pixels of one patch in the three frames of a window: [3, patch, patch, 3].
template <class Operand>
void gather(const PatchEmbed& a, const int64_t* window, int64_t token, Operand* to) {
  const int64_t columns = a.width / a.patch, line = a.width * 3, run = a.patch * 3;
  const int64_t corner = token / columns * a.patch * line + token % columns * run;
  for (int f = 0; f < 3; ++f)
    for (int64_t y = 0; y < a.patch; ++y, to += run) {
      const uint8_t* from = a.frames + window[f] * a.height * line + corner + y * line;
      for (int64_t x = 0; x < run; x += kWidth) store(to + x, load(from + x, run - x), run - x);
    }
}

template <class T>
void patch_embed(const PatchEmbed& a, Scratch& scratch) {
  using Operand = typename OperandOf<T>::type;
  constexpr int64_t kBlock = 8 * kRows;
  const int64_t k = 9 * a.patch * a.patch, stride = round_up(k, kWidth), c_padded = round_up(a.c, kWidth);
  const Norm norm = take_norm<T>(scratch, a.norm_weight, a.norm_bias, a.c);
  const float* bias = widened<T>(scratch, a.bias, a.c);
  auto weight = take_panels<Operand>(scratch, k, a.c);
  pack_transposed(weight, static_cast<const T*>(a.weight), k, k);
  auto* pixels = take<Operand>(scratch, kBlock * stride);
  auto* tokens = take<float>(scratch, kBlock * c_padded);
  std::memset(pixels, 0, kBlock * stride * sizeof(Operand));  // the last step may reach beyond k

  for (int64_t b = 0; b < a.batch; ++b)
    for (int64_t row = 0; row < a.visible; row += kBlock) {
      const int64_t rows = least(a.visible - row, kBlock), first = b * a.visible + row;
      for (int64_t i = 0; i < rows; ++i) gather(a, a.windows + 3 * b, a.ids_keep[first + i], pixels + i * stride);
      multiply(pixels, stride, rows, weight, [&](int64_t i, int64_t column, Float value) {
        store(tokens + i * c_padded + column, value + load(bias + column));
      });
      for (int64_t i = 0; i < rows; ++i)
        layer_norm(norm, tokens + i * c_padded, static_cast<T*>(a.out) + (first + i) * a.c, a.c);
    }
}

}  // namespace
}  // namespace AEDMAE_ISA
}  // namespace aedmae
