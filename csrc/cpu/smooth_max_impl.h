// The kernels of smooth_max, compiled once per instruction set, each in a namespace of its own.
//
// Sums are direct, never running: a running sum would carry the rounding (or the NaN) of one pixel along its row.
#pragma once

#include "float_lanes.h"
#include "smooth_max.h"

namespace aedmae {
namespace AEDMAE_ISA {
namespace {

inline int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

void mean_filter(const MeanFilter& a, float* scratch) {
  const int64_t up = a.rows / 2, left = a.columns / 2, width = a.width, columns = a.columns;
  float* const share = scratch;               // [width]: 1 / columns of the filter that exist around x
  float* const padded = scratch + width;      // [left + width + left]: sums over rows; the padding stays 0
  for (int64_t x = 0; x < width; ++x)
    share[x] = 1.0f / static_cast<float>(least(x + left + 1, width) - most(x - left, 0));
  for (int64_t y = 0; y < a.height; ++y) {
    const int64_t first = most(y - up, 0), count = least(y + up + 1, a.height) - first;
    const float* const top = a.image + first * a.row_stride;
    for_lanes(width, [&](int64_t x, auto lane) {
      using V = decltype(lane);
      V sum = load_as<V>(top + x);
      for (int64_t i = 1; i < count; ++i) sum += load_as<V>(top + i * a.row_stride + x);
      store_as(padded + left + x, sum);
    });
    const float row_share = 1.0f / static_cast<float>(count);
    float* const out = a.out + y * width;
    for_lanes(width, [&](int64_t x, auto lane) {
      using V = decltype(lane);
      V sum = load_as<V>(padded + x);
      for (int64_t i = 1; i < columns; ++i) sum += load_as<V>(padded + x + i);
      store_as(out + x, V(sum * row_share * load_as<V>(share + x)));
    });
  }
}

template <class V>
inline V total(const MeanMaps& a, int64_t i) {
  V sum = load_as<V>(a.maps[0] + i);
  for (int32_t m = 1; m < a.count; ++m) sum += load_as<V>(a.maps[m] + i);
  return sum;
}

void mean_map(const MeanMaps& a, float* out) {
  const float count = static_cast<float>(a.count);
  for_lanes(a.size, [&](int64_t i, auto lane) {
    using V = decltype(lane);
    store_as(out + i, V(total<V>(a, i) / count));
  });
}

// The first of the greatest; or the first NaN.
Greatest mean_max(const MeanMaps& a) {
  Float best = all(-__builtin_inff());
  Int at, nan{};  // where each lane's best is
  for (int i = 0; i < kWidth; ++i) at[i] = i;
  const Int lanes = at;
  Greatest found{-__builtin_inff(), 0};
  bool has_nan = false;
  for_lanes(a.size, [&](int64_t i, auto lane) {
    using V = decltype(lane);
    const V sum = total<V>(a, i);
    if constexpr (sizeof(V) == sizeof(float)) {
      if (sum > found.value) found = {sum, i};
      has_nan |= sum != sum;
    } else {
      const Int greater = sum > best;
      best = greater ? sum : best;
      at = greater ? lanes + static_cast<int32_t>(i) : at;
      nan |= sum != sum;
    }
  });
  for (int i = 0; i < kWidth && a.size >= kWidth; ++i) {
    if (best[i] > found.value || (best[i] == found.value && at[i] < found.pixel)) found = {best[i], at[i]};
    has_nan |= nan[i] != 0;
  }
  if (has_nan)
    for (found.pixel = 0; total<float>(a, found.pixel) == total<float>(a, found.pixel);) ++found.pixel;
  return {has_nan ? __builtin_nanf("") : found.value / static_cast<float>(a.count), found.pixel};
}

}  // namespace

extern const SmoothMaxKernels smooth_max_kernels{mean_filter, mean_map, mean_max};

}  // namespace AEDMAE_ISA
}  // namespace aedmae
