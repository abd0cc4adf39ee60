// patch_embed, compiled once per instruction set: a few visible patches at a time are gathered and multiplied, and
// LayerNorm takes the rows from the cache. Pixels are exact as operands: bfloat16 holds 0..255, and so do levels, which
// thus need no scale.
#pragma once

#include "layer.h"

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
      if constexpr (std::is_same_v<Operand, uint8_t>) {
        std::memcpy(to, from, run);
      } else if constexpr (std::is_same_v<Operand, Level>) {
        for (int64_t x = 0; x < run; ++x) to[x] = from[x];
      } else {
        for (int64_t x = 0; x < run; x += kWidth) store(to + x, load(from + x, run - x), run - x);
      }
    }
}

template <class T, class Operand>
void patch_embed(const PatchEmbed& a, Scratch& scratch) {
  const int64_t k = 9 * a.patch * a.patch, stride = padded_row<Operand>(k), c_padded = round_up(a.c, kWidth);
  const Norm norm = take_norm<T>(scratch, a.norm_weight, a.norm_bias, a.c);
  const auto layer = take_layer<Operand, T>(scratch, a.weight, a.packed, a.bias, a.scale, k, a.c, false);
  auto* pixels = take<Operand>(scratch, kBlock * stride);
  auto* tokens = take<float>(scratch, kBlock * c_padded);
  auto* ones = take<float>(scratch, kBlock);
  for (int64_t i = 0; i < kBlock; ++i) ones[i] = 1;
  std::memset(pixels, 0, kBlock * stride * sizeof(Operand));  // the last steps may reach beyond k

  for (int64_t b = 0; b < a.batch; ++b)
    for (int64_t row = 0; row < a.visible; row += kBlock) {
      const int64_t rows = least(a.visible - row, kBlock), first = b * a.visible + row;
      for (int64_t i = 0; i < rows; ++i) gather(a, a.windows + 3 * b, a.ids_keep[first + i], pixels + i * stride);
      apply(Rows<Operand>{pixels, stride, ones}, rows, layer, by_row([&](int64_t i, int64_t column, Float value) {
        store(tokens + i * c_padded + column, value);
      }));
      for (int64_t i = 0; i < rows; ++i)
        layer_norm(norm, tokens + i * c_padded, static_cast<T*>(a.out) + (first + i) * a.c, a.c);
    }
}

}  // namespace
}  // namespace AEDMAE_ISA
}  // namespace aedmae
