// A linear layer inside a kernel, quantized or not: its weight packed, its rows made operands, its product finished.
#pragma once

#include "rows.h"

namespace aedmae {
namespace AEDMAE_ISA {
namespace {

// What a kernel writes rows in that a layer will take: its operands, or floats to be quantized.
template <class Operand>
using Staged = std::conditional_t<std::is_same_v<Operand, Level>, float, Operand>;

template <class Operand>
struct Layer {
  Panels<Operand> weight;
  const float *bias, *scale;  // [N], padded; scale of a quantized weight
  const float* lifts;         // [N] of int32: what rows that are kLift too high add to the sums; null where none are
};

// What a weight is of that is not packed: int8 for levels, else T.
template <class Operand, class T>
using Unpacked = std::conditional_t<std::is_same_v<Operand, Level>, int8_t, T>;

// The i-th of several weights [N, K], packed or not.
template <class Operand, class T>
const void* weight_at(const void* weights, bool packed, int64_t i, int64_t k, int64_t n) {
  if (packed) return static_cast<const float*>(weights) + i * Panels<Operand>(nullptr, k, n).size();
  return static_cast<const Unpacked<Operand, T>*>(weights) + i * k * n;
}

// The layer of a weight [N, K], packed or not, and a bias [N] of T. `lifted`: rows come from quantize(), which keeps
// them kLift higher.
template <class Operand, class T>
Layer<Operand> take_layer(Scratch& scratch, const void* weight, bool packed, const void* bias, const float* scale,
                          int64_t k, int64_t n, bool lifted = true) {
  Panels<Operand> panels(static_cast<float*>(const_cast<void*>(weight)), k, n);  // which nobody writes to
  if (!packed) {
    panels = take_panels<Operand>(scratch, k, n);
    pack_transposed(panels, static_cast<const Unpacked<Operand, T>*>(weight), k, k);
  }
  Layer<Operand> layer{panels, widened<T>(scratch, bias, n), nullptr, nullptr};
  if constexpr (std::is_same_v<Operand, Level>) {
    layer.scale = widened<float>(scratch, scale, n);
    if (kLift && lifted) layer.lifts = take_lifts(scratch, layer.weight);
  }
  return layer;
}

// Calls epilogue(row, column, vectors) as `multiply` does, of the layer's result, bias included.
template <class Operand, class Epilogue>
inline void apply(const Rows<Operand>& x, int64_t rows, const Layer<Operand>& layer, Epilogue epilogue) {
  const auto finish = [&](int64_t row, int64_t column, auto& vectors) __attribute__((always_inline)) {
    const Float bias = load(layer.bias + column);
    if constexpr (std::is_same_v<Operand, Level>) {
      const Uint lift = layer.lifts ? (Uint)load(layer.lifts + column) : Uint{};  // may wrap, as sums may
      const Float scale = load(layer.scale + column);
      const float* scales = x.scales + row;
      for (Float& sum : vectors) sum = fma(to_float((Int)((Uint)sum - lift)), all(*scales++) * scale, bias);
    } else {
      for (Float& sum : vectors) sum += bias;
    }
    epilogue(row, column, vectors);
  };
  multiply(x.data, x.stride, rows, layer.weight, finish);
}

}  // namespace
}  // namespace AEDMAE_ISA
}  // namespace aedmae
