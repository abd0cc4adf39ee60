// dwconv_qkv, compiled once per instruction set: LayerNorm into an image with a border of zeros, then, a few rows of
// tokens at a time, the three convolutions and their projections.
#pragma once

#include "layer.h"

namespace aedmae {
namespace AEDMAE_ISA {
namespace {

// The normed tokens as an image [height + 2, width + 2, stride].
struct Image {
  float* data;
  int64_t width, stride;

  float* at(int64_t row, int64_t column) const { return data + ((row + 1) * (width + 2) + column + 1) * stride; }
  float* token(int64_t t) const { return at(t / width, t % width); }
};

// The convolutions of tokens [first, first + count) in kWidth channels from `channel` on; result w of token i goes to
// out + (w * block + i) * stride. Kernels are [27, stride], biases [3, stride].
template <class To>
void convolve(const Image& image, const float* kernels, const float* biases, int64_t channel, int64_t first,
              int64_t count, To* out, int64_t block, int64_t out_stride) {
  Float kernel[27], bias[3];
#pragma GCC unroll 27
  for (int i = 0; i < 27; ++i) kernel[i] = load(kernels + i * out_stride + channel);
  for (int i = 0; i < 3; ++i) bias[i] = load(biases + i * out_stride + channel);
  const int64_t line = (image.width + 2) * image.stride;
  const float* centre = image.token(first) + channel;
  for (int64_t i = 0, column = first % image.width; i < count; ++i) {
    Float sums[3] = {bias[0], bias[1], bias[2]};
#pragma GCC unroll 3
    for (int dy = 0; dy < 3; ++dy)
#pragma GCC unroll 3
      for (int dx = 0; dx < 3; ++dx) {
        const Float pixel = load(centre + (dy - 1) * line + (dx - 1) * image.stride);
#pragma GCC unroll 3
        for (int w = 0; w < 3; ++w) sums[w] = fma(pixel, kernel[w * 9 + dy * 3 + dx], sums[w]);
      }
#pragma GCC unroll 3
    for (int w = 0; w < 3; ++w) store(out + (w * block + i) * out_stride + channel, sums[w]);
    const bool line_ends = ++column == image.width;
    centre += line_ends ? 3 * image.stride : image.stride;
    if (line_ends) column = 0;
  }
}

template <class T, class Operand>
void dwconv_qkv(const DwconvQkv& a, Scratch& scratch) {
  const int64_t n = 1 + a.height * a.width, c_padded = round_up(a.c, kWidth);
  const Norm norm = take_norm<T>(scratch, a.norm_weight, a.norm_bias, a.c);
  const float* kernels = widened<T>(scratch, a.conv_weight, a.c, 27);
  const float* conv_biases = widened<T>(scratch, a.conv_bias, a.c, 3);
  const auto take_proj = [&](int64_t w) {
    return take_layer<Operand, T>(scratch, weight_at<Operand, T>(a.proj_weight, a.packed, w, a.c, a.c), a.packed,
                                  static_cast<const T*>(a.proj_bias) + w * a.c,
                                  a.proj_scale ? a.proj_scale + w * a.c : nullptr, a.c, a.c);
  };
  const Layer<Operand> proj[] = {take_proj(0), take_proj(1), take_proj(2)};

  // A stride that is no power of two keeps the nine pixels of a convolution in different sets of the cache.
  const int64_t stride = c_padded + kWidth, size = (a.height + 2) * (a.width + 2) * stride;
  const Image image{take<float>(scratch, size), a.width, stride};
  std::memset(image.data, 0, size * sizeof(float));
  auto* y = take<Staged<Operand>>(scratch, 3 * kBlock * c_padded);
  const auto room = take_room<Operand, Staged<Operand>>(scratch, kBlock, c_padded);
  auto* cls = take<float>(scratch, c_padded);

  for (int64_t b = 0; b < a.batch; ++b) {
    const T* x = static_cast<const T*>(a.x) + b * n * a.c;
    layer_norm(norm, x, cls, c_padded);
    for (int64_t t = 0; t + 1 < n; ++t) layer_norm(norm, x + (1 + t) * a.c, image.token(t), c_padded);
    for (int64_t row = 0; row < n; row += kBlock) {
      const int64_t rows = least(n - row, kBlock), bypass = row == 0;  // [CLS] is row 0
      for (int64_t channel = 0; channel < a.c; channel += kWidth) {
        for (int w = 0; w < 3 && bypass; ++w) store(y + w * kBlock * c_padded + channel, load(cls + channel));
        if (rows > bypass)
          convolve(image, kernels, conv_biases, channel, row - 1 + bypass, rows - bypass, y + bypass * c_padded, kBlock,
                   c_padded);
      }
      for (int w = 0; w < 3; ++w) {
        T* out = static_cast<T*>(a.out) + ((w * a.batch + b) * n + row) * a.c;
        const auto projected = operands(y + w * kBlock * c_padded, c_padded, rows, c_padded, room);
        apply(projected, rows, proj[w], by_row([&](int64_t i, int64_t column, Float value) {
          store(out + i * a.c + column, value, a.c - column);
        }));
      }
    }
  }
}

}  // namespace
}  // namespace AEDMAE_ISA
}  // namespace aedmae
