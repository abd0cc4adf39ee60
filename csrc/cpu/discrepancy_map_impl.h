// discrepancy_map, compiled once per instruction set: both heads' products, the target error, the gap and the sum over
// channels in one pass. The predictions never leave the first-level cache.
//
// As many pixels of a patch as a vector has lanes are taken at a time. Of both heads that is 4 vectors of columns each,
// one a channel; so what is made of a token's predictions of these pixels stays within lanes.
#pragma once

#include "rows.h"

namespace aedmae {
namespace AEDMAE_ISA {
namespace {

constexpr int kChannels = 4;
constexpr int64_t kColumns = kChannels * kWidth;
constexpr float kNormal = -1.0f;  // the anomaly map of a normal frame

// Pixels that lie side by side in a row of the patch.
struct Run {
  int64_t at, count;   // among those taken
  int64_t frame, map;  // from the patch's first pixel, in the frame (bytes) and in the map (floats)
};

// The pixels of a patch that are taken at a time.
struct Pixels {
  int64_t first, count, runs;
  Run run[kWidth];
  float bias[2][kColumns];  // of both heads, [channel][pixel]
};

inline Pixels take_pixels(const DiscrepancyMap& a, const float* const (&bias)[2], int64_t first) {
  Pixels p{first, least(a.patch * a.patch - first, kWidth), 0, {}, {}};
  for (int64_t at = 0; at < p.count;) {
    const int64_t y = (first + at) / a.patch, x = (first + at) % a.patch, count = least(a.patch - x, p.count - at);
    p.run[p.runs++] = {at, count, y * a.row_stride + 3 * x, y * a.width + x};
    at += count;
  }
  for (int head = 0; head < 2; ++head)  // a lane without a pixel predicts what its target will be: no colour, normal
    for (int c = 0; c < kChannels; ++c)
      for (int64_t lane = 0; lane < kWidth; ++lane)
        p.bias[head][c * kWidth + lane] =
            lane < p.count ? bias[head][(first + lane) * kChannels + c] : (c == 3 ? kNormal : 0);
  return p;
}

// Three bytes a pixel -> one lane a pixel, B in the lowest byte. Reads 4 bytes beyond the last.
inline Int lanes_of_three(const uint8_t* bytes) {
#if defined(__AVX2__)
  const auto four = [&](int k) {
    const __m128i spread = _mm_setr_epi8(0, 1, 2, -1, 3, 4, 5, -1, 6, 7, 8, -1, 9, 10, 11, -1);
    return _mm_shuffle_epi8(_mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes + 12 * k)), spread);
  };
  const __m256i eight = _mm256_set_m128i(four(1), four(0));
#if defined(__AVX512F__)
  return (Int)_mm512_inserti64x4(_mm512_castsi256_si512(eight), _mm256_set_m128i(four(3), four(2)), 1);
#else
  return (Int)eight;
#endif
#else
  Int bgr;
  for (int i = 0; i < kWidth; ++i) bgr[i] = bytes[3 * i] | bytes[3 * i + 1] << 8 | bytes[3 * i + 2] << 16;
  return bgr;
#endif
}

// The colours as the network sees them, (x - 127.5) / 127.5.
inline void target_colours(const uint8_t* bytes, Float colour[3]) {
  const Int bgr = lanes_of_three(bytes);
  for (int c = 0; c < 3; ++c)
    colour[c] = (__builtin_convertvector(bgr >> (8 * c) & 255, Float) - 127.5f) * (1 / 127.5f);
}

template <bool squared>
inline Float distance(Float a, Float b) {
  return squared ? (a - b) * (a - b) : abs(a - b);
}

// Both heads' products of one token, without their bias -> the map; the terms are added to `sums` [3].
template <bool squared>
inline void finish(const DiscrepancyMap& a, const Pixels& p, const float* teacher, const float* student,
                   const uint8_t* frame, float* map, Float sums[3]) {
  uint8_t bytes[3 * kWidth + 4] = {};
  for (int64_t i = 0; i < p.runs; ++i) std::memcpy(bytes + 3 * p.run[i].at, frame + p.run[i].frame, 3 * p.run[i].count);
  Float target[kChannels], error[kChannels], gap{};
  target_colours(bytes, target);
  for (int c = 0; c < 3; ++c)
    if (p.count < kWidth) target[c] = first_lanes(target[c], p.count);
  target[3] = all(kNormal);
  for (int c = 0; c < kChannels; ++c) {
    const Float predicted = load(teacher + c * kWidth) + load(p.bias[0] + c * kWidth);
    error[c] = distance<squared>(target[c], predicted);
    gap += distance<squared>(predicted, load(student + c * kWidth) + load(p.bias[1] + c * kWidth));
  }
  const Float colour = error[0] + error[1] + error[2];
  float combined[kWidth];
  store(combined, a.weights[0] * colour + a.weights[1] * error[3] + a.weights[2] * gap);
  for (int64_t i = 0; i < p.runs; ++i)
    std::memcpy(map + p.run[i].map, combined + p.run[i].at, sizeof(float) * p.run[i].count);
  sums[0] += colour, sums[1] += error[3], sums[2] += gap;
}

// These pixels of every patch of a frame. sums: [3][kWidth].
template <bool squared, class Operand>
void pixels_of_frame(const DiscrepancyMap& a, const Pixels& p, const Rows<Operand>* states,
                     const Panels<Operand>* weights, int64_t frame, double* sums) {
  const int64_t across = a.width / a.patch, tokens = a.height / a.patch * across;
  alignas(64) float products[2][kRows * kColumns];
  for (int64_t first = 0; first < tokens; first += kRows) {
    const int64_t rows = least(tokens - first, kRows);
    for (int head = 0; head < 2; ++head)
      for (int64_t column = 0; column < kColumns; column += kPanel)
        tile_of<Operand>(rows, kVecs)(states[head].data + first * states[head].stride, states[head].stride,
                                      weights[head].panel(column), weights[head].width(), weights[head].steps,
                                      products[head] + column, kColumns);
    Float terms[3]{};
    for (int64_t i = 0; i < rows; ++i) {
      const int64_t y = (first + i) / across * a.patch, x = (first + i) % across * a.patch;
      finish<squared>(a, p, products[0] + i * kColumns, products[1] + i * kColumns,
                      a.frames + frame * a.frame_stride + y * a.row_stride + 3 * x,
                      a.map + (frame * a.height + y) * a.width + x, terms);
    }
    for (int term = 0; term < 3; ++term)
      for (int lane = 0; lane < kWidth; ++lane) sums[term * kWidth + lane] += static_cast<double>(terms[term][lane]);
  }
}

template <class T>
void discrepancy_map(const DiscrepancyMap& a, Scratch& scratch) {
  using Operand = typename OperandOf<T>::type;
  const int64_t tokens = a.height / a.patch * (a.width / a.patch), values = kChannels * a.patch * a.patch;
  const float* const bias[2] = {widened<T>(scratch, a.head[0].bias, values),
                                widened<T>(scratch, a.head[1].bias, values)};
  Panels<Operand> weights[2] = {take_panels<Operand>(scratch, a.c, kColumns),
                                take_panels<Operand>(scratch, a.c, kColumns)};
  auto* const states = take<Rows<Operand>>(scratch, 2 * a.batch);
  for (int64_t i = 0; i < 2 * a.batch; ++i) {
    const HiddenStates& from = a.states[i % 2];
    states[i] = operands(static_cast<const T*>(from.data) + i / 2 * from.frame_stride, from.token_stride, tokens, a.c,
                         take_room<Operand, T>(scratch, tokens, a.c));
  }
  auto* const sums = take<double>(scratch, a.batch * 3 * kWidth);
  for (int64_t i = 0; i < a.batch * 3 * kWidth; ++i) sums[i] = 0;

  const auto one = a.squared ? pixels_of_frame<true, Operand> : pixels_of_frame<false, Operand>;
  for (int64_t first = 0; first < a.patch * a.patch; first += kWidth) {
    const Pixels pixels = take_pixels(a, bias, first);
    for (int head = 0; head < 2; ++head)
      pack_columns(weights[head], a.c, [&](int64_t column) {
        const int64_t pixel = column % kWidth, value = (first + pixel) * kChannels + column / kWidth;
        return pixel < pixels.count ? static_cast<const T*>(a.head[head].weight) + value * a.c : nullptr;
      });
    for (int64_t frame = 0; frame < a.batch; ++frame)
      one(a, pixels, states + 2 * frame, weights, frame, sums + frame * 3 * kWidth);
  }
  for (int64_t i = 0; i < 3 * a.batch; ++i) {
    double sum = 0;
    for (int lane = 0; lane < kWidth; ++lane) sum += sums[i * kWidth + lane];
    a.means[i] = static_cast<float>(sum / (static_cast<double>(a.height) * static_cast<double>(a.width)));
  }
}

}  // namespace
}  // namespace AEDMAE_ISA
}  // namespace aedmae
