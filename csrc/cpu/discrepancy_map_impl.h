// The kernel of discrepancy_map, compiled once per instruction set, each in a namespace of its own.
//
// A panel is as many pixels of a patch as a vector has lanes: of both heads, 4 vectors of columns each, one a channel.
// So a token's predictions of a panel are 8 vectors, and what is made of them stays within lanes.
#pragma once

#include <cstring>

#include "discrepancy_map.h"
#include "simd.h"
#include "tile_product.h"

namespace aedmae {
namespace AEDMAE_ISA {
namespace {

constexpr float kNormal = -1.0f;  // the anomaly map of a normal frame
constexpr int kTile = kRows * kColumns * kFloats;

// Pixels of a panel that lie side by side in a row of the patch.
struct Run {
  int32_t at, count;       // among the panel's pixels
  int64_t frame, map;      // from the patch's first pixel, in the frame (bytes) and in the map (floats)
};

struct Panel {
  int32_t first, count;    // pixels of the patch
  int32_t runs;
  Run run[kFloats];
  float bias[2][kColumns * kFloats];
};

Panel make_panel(const DiscrepancyMap& a, const DiscrepancyTask& t, int32_t first) {
  Panel p{};
  const int32_t left = a.patch * a.patch - first;
  p.first = first, p.count = left < kFloats ? left : kFloats;
  for (int32_t at = 0; at < p.count;) {
    const int32_t y = (first + at) / a.patch, x = (first + at) % a.patch;
    const int32_t in_row = a.patch - x, in_panel = p.count - at, count = in_row < in_panel ? in_row : in_panel;
    p.run[p.runs++] = {at, count, y * a.row_stride + 3 * x, y * int64_t{a.width} + x};
    at += count;
  }
  for (int head = 0; head < 2; ++head)  // a lane without a pixel predicts what its target will be: no colour, normal
    for (int lane = 0; lane < kFloats; ++lane)
      for (int c = 0; c < kColumns; ++c)
        p.bias[head][c * kFloats + lane] =
            lane < p.count ? t.bias[head][(first + lane) * kColumns + c] : (c == 3 ? kNormal : 0);
  return p;
}

// Rows of a head, [pixel][channel][words] -> [words][channel][lane].
void pack(const Panel& p, const char* weight, int32_t words, float* out) {
  for (int lane = 0; lane < kFloats; ++lane)
    for (int c = 0; c < kColumns; ++c) {
      const char* row = weight + (int64_t{p.first + lane} * kColumns + c) * words * 4;
      float* to = out + c * kFloats + lane;
      for (int64_t k = 0; k < words; ++k) to[k * kColumns * kFloats] = lane < p.count ? word_at(row + 4 * k) : 0;
    }
}

// Three bytes a pixel -> its colours as the network sees them, (x - 127.5) / 127.5.
void target_colours(const uint8_t* bytes, Floats colour[3]) {
#if defined(AEDMAE_HAS_SHUFFLE8)
  static constexpr int8_t spread[64] = {0, 1, 2, -1, 3, 4, 5, -1, 6, 7, 8, -1, 9, 10, 11, -1,
                                        0, 1, 2, -1, 3, 4, 5, -1, 6, 7, 8, -1, 9, 10, 11, -1,
                                        0, 1, 2, -1, 3, 4, 5, -1, 6, 7, 8, -1, 9, 10, 11, -1,
                                        0, 1, 2, -1, 3, 4, 5, -1, 6, 7, 8, -1, 9, 10, 11, -1};
  const Ints bgr = (Ints)shuffle8(parts([&](int k) { return part_at(bytes + 12 * k); }), load(spread));
#else
  Ints bgr;
  for (int i = 0; i < kFloats; ++i) bgr[i] = bytes[3 * i] | bytes[3 * i + 1] << 8 | bytes[3 * i + 2] << 16;
#endif
  for (int c = 0; c < 3; ++c)
    colour[c] = (__builtin_convertvector(bgr >> (8 * c) & 255, Floats) - 127.5f) * (1 / 127.5f);
}

template <bool squared>
inline Floats distance(Floats a, Floats b) {
  const Floats d = a - b;
  return squared ? d * d : (Floats)((Ints)d & 0x7fffffff);
}

// One token's predictions of a panel -> the map, and the terms added to `sums` [3].
template <bool squared>
inline void finish(const DiscrepancyMap& a, const Panel& p, const float* teacher, const float* student,
                   const uint8_t* frame, float* map, Floats sums[3]) {
  uint8_t bytes[3 * kFloats + 16] = {};  // the last load is of 16 bytes
  for (int i = 0; i < p.runs; ++i) std::memcpy(bytes + 3 * p.run[i].at, frame + p.run[i].frame, 3 * p.run[i].count);
  Floats target[4];
  target_colours(bytes, target);
  target[3] = all(kNormal);
  for (int lane = p.count; lane < kFloats; ++lane) target[0][lane] = target[1][lane] = target[2][lane] = 0;
  Floats error[4], gap{};
  for (int c = 0; c < 4; ++c) {
    const Floats predicted = load_as<Floats>(teacher + c * kFloats);
    error[c] = distance<squared>(target[c], predicted);
    gap += distance<squared>(predicted, load_as<Floats>(student + c * kFloats));
  }
  const Floats colour = error[0] + error[1] + error[2];
  const Floats combined = a.weights[0] * colour + a.weights[1] * error[3] + a.weights[2] * gap;
  for (int i = 0; i < p.runs; ++i)
    std::memcpy(map + p.run[i].map, reinterpret_cast<const float*>(&combined) + p.run[i].at,
                sizeof(float) * p.run[i].count);
  sums[0] += colour, sums[1] += error[3], sums[2] += gap;
}

template <class Type, bool squared>
void panel_of_frame(const DiscrepancyMap& a, const DiscrepancyTask& t, const Panel& p, int64_t frame) {
  const int32_t across = a.width / a.patch, tokens = a.height / a.patch * across;
  alignas(64) float predicted[2][kTile];
  double* const sums = t.sums + frame * 3 * kFloats;
  for (int32_t first = 0; first < tokens; first += kRows) {
    for (int head = 0; head < 2; ++head) {
      const char* rows[kRows];
      for (int m = 0; m < kRows; ++m) {  // past the last token: that one again, for nothing
        const int64_t token = first + m < tokens ? first + m : tokens - 1;
        rows[m] = t.states[head] + frame * t.frame_stride[head] + token * t.token_stride[head];
      }
      const float* packed = t.panel + int64_t{head} * kColumns * kFloats * t.words;
      tile_product<Type>(rows, packed, t.words, p.bias[head], predicted[head]);
    }
    Floats terms[3]{};
    for (int32_t m = 0; m < kRows && first + m < tokens; ++m) {
      const int64_t y = (first + m) / across * a.patch, x = (first + m) % across * a.patch;
      const int64_t tile = m * kColumns * kFloats;
      finish<squared>(a, p, predicted[0] + tile, predicted[1] + tile,
                      a.frames + frame * a.frame_stride + y * a.row_stride + 3 * x,
                      a.map + (frame * a.height + y) * a.width + x, terms);
    }
    for (int term = 0; term < 3; ++term)
      for (int lane = 0; lane < kFloats; ++lane) sums[term * kFloats + lane] += static_cast<double>(terms[term][lane]);
  }
}

template <class Type>
void run(const DiscrepancyMap& a, const DiscrepancyTask& t) {
  const auto one = a.squared ? panel_of_frame<Type, true> : panel_of_frame<Type, false>;
  for (int32_t first = 0; first < a.patch * a.patch; first += kFloats) {
    const Panel panel = make_panel(a, t, first);
    for (int head = 0; head < 2; ++head)
      pack(panel, t.weight[head], t.words, t.panel + int64_t{head} * kColumns * kFloats * t.words);
    for (int64_t frame = 0; frame < a.batch; ++frame) one(a, t, panel, frame);
  }
  for (int64_t i = 0; i < 3 * int64_t{a.batch}; ++i) {
    double sum = 0;
    for (int lane = 0; lane < kFloats; ++lane) sum += t.sums[i * kFloats + lane];
    a.means[i] = static_cast<float>(sum / (static_cast<double>(a.height) * a.width));
  }
}

}  // namespace

extern const DiscrepancyKernels discrepancy_kernels{kFloats, run<Float32>,
#if defined(__AVX512BF16__)
                                                    run<BFloat16>
#else
                                                    nullptr
#endif
};

}  // namespace AEDMAE_ISA
}  // namespace aedmae
