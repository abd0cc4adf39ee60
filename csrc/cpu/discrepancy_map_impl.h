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
  int64_t whole;            // the length of all runs where it is the same, or else 0
  float bias[2][kColumns];  // of both heads, [channel][pixel]
};

inline Pixels take_pixels(const DiscrepancyMap& a, const float* const (&bias)[2], int64_t first) {
  Pixels p{first, least(a.patch * a.patch - first, kWidth), 0, {}, 0, {}};
  for (int64_t at = 0; at < p.count;) {
    const int64_t y = (first + at) / a.patch, x = (first + at) % a.patch, count = least(a.patch - x, p.count - at);
    p.run[p.runs++] = {at, count, y * a.row_stride + 3 * x, y * a.width + x};
    at += count;
  }
  if (p.run[0].count * p.runs == kWidth && p.run[p.runs - 1].count == p.run[0].count) p.whole = p.run[0].count;
  for (int head = 0; head < 2; ++head)  // a lane without a pixel predicts what its target will be: no colour, normal
    for (int c = 0; c < kChannels; ++c)
      for (int64_t lane = 0; lane < kWidth; ++lane)
        p.bias[head][c * kWidth + lane] =
            lane < p.count ? bias[head][(first + lane) * kChannels + c] : (c == 3 ? kNormal : 0);
  return p;
}

// Three bytes a pixel -> one lane a pixel, B in the lowest byte.
inline Int lanes_of_three(const uint8_t* bytes) {
#if defined(__AVX2__)
  const __m128i spread = _mm_setr_epi8(0, 1, 2, -1, 3, 4, 5, -1, 6, 7, 8, -1, 9, 10, 11, -1);
#if defined(__AVX512F__)
  const __m512i fours = _mm512_setr_epi32(0, 1, 2, 15, 3, 4, 5, 15, 6, 7, 8, 15, 9, 10, 11, 15);
  const __m512i apart = _mm512_permutexvar_epi32(fours, _mm512_maskz_loadu_epi32(0x0fff, bytes));
  return (Int)_mm512_shuffle_epi8(apart, _mm512_broadcast_i32x4(spread));
#else
  const auto four = [](const uint8_t* from, __m128i order) {
    return _mm_shuffle_epi8(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)), order);
  };
  const __m128i later = _mm_setr_epi8(4, 5, 6, -1, 7, 8, 9, -1, 10, 11, 12, -1, 13, 14, 15, -1);
  return (Int)_mm256_set_m128i(four(bytes + 8, later), four(bytes, spread));
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
    colour[c] = rounded((__builtin_convertvector(bgr >> (8 * c) & 255, Float) - 127.5f) * (1 / 127.5f));
}

template <bool squared>
inline Float distance(Float a, Float b) {
  return squared ? (a - b) * (a - b) : abs(a - b);
}

// Both heads' products of one token, without their bias -> the map; the terms are added to `sums` [3]. `whole` is that
// of the pixels, known to the compiler where it is not 0.
template <bool squared, int64_t whole>
inline void finish(const DiscrepancyMap& a, const Pixels& p, const float* teacher, const float* student,
                   const uint8_t* frame, float* map, Float sums[3]) {
  Float target[kChannels], error[kChannels], gap{};
  if constexpr (whole == kWidth) {
    target_colours(frame + p.run[0].frame, target);
  } else {
    uint8_t bytes[3 * kWidth] = {};
    for (int64_t i = 0; i < (whole ? kWidth / whole : p.runs); ++i)
      std::memcpy(bytes + 3 * p.run[i].at, frame + p.run[i].frame, 3 * (whole ? whole : p.run[i].count));
    target_colours(bytes, target);
  }
  for (int c = 0; c < 3; ++c)
    if (!whole && p.count < kWidth) target[c] = first_lanes(target[c], p.count);
  target[3] = all(kNormal);
  for (int c = 0; c < kChannels; ++c) {
    const Float predicted = load(teacher + c * kWidth) + load(p.bias[0] + c * kWidth);
    error[c] = distance<squared>(target[c], predicted);
    gap += distance<squared>(predicted, load(student + c * kWidth) + load(p.bias[1] + c * kWidth));
  }
  const Float colour = error[0] + error[1] + error[2];
  const Float combined = a.weights[0] * colour + a.weights[1] * error[3] + a.weights[2] * gap;
  if constexpr (whole == kWidth) {
    store(map + p.run[0].map, combined);
  } else {
    float pixels[kWidth];
    store(pixels, combined);
    for (int64_t i = 0; i < (whole ? kWidth / whole : p.runs); ++i)
      std::memcpy(map + p.run[i].map, pixels + p.run[i].at, sizeof(float) * (whole ? whole : p.run[i].count));
  }
  sums[0] += colour, sums[1] += error[3], sums[2] += gap;
}

// These pixels of every patch of a frame. sums: [3][kWidth].
template <bool squared, int64_t whole, class Operand>
void pixels_of_frame(const DiscrepancyMap& a, const Pixels& p, const Rows<Operand>* states,
                     const Panels<Operand>* weights, int64_t frame, double* sums) {
  const int64_t across = a.width / a.patch, tokens = a.height / a.patch * across;
  alignas(64) float products[2][2][kRows * kColumns];  // of this block and of the one before, finished meanwhile
  int64_t token_row = 0, token_column = 0;
  for (int64_t first = 0, turn = 0; first < tokens + kRows; first += kRows, turn ^= 1) {
    if (first < tokens)
      for (int head = 0; head < 2; ++head)
        for (int64_t column = 0; column < kColumns; column += kPanel)
          block(states[head].data + first * states[head].stride, states[head].stride, least(tokens - first, kRows),
                weights[head], column, products[turn][head] + column, kColumns);
    if (first == 0) continue;
    const int64_t rows = least(tokens - (first - kRows), kRows);
    Float terms[3]{};
    for (int64_t i = 0; i < rows; ++i) {
      const int64_t y = token_row * a.patch, x = token_column * a.patch;
      finish<squared, whole>(a, p, products[turn ^ 1][0] + i * kColumns, products[turn ^ 1][1] + i * kColumns,
                             a.frames + frame * a.frame_stride + y * a.row_stride + 3 * x,
                             a.map + (frame * a.height + y) * a.width + x, terms);
      if (++token_column == across) ++token_row, token_column = 0;
    }
    for (int term = 0; term < 3; ++term)
      for (int lane = 0; lane < kWidth; ++lane) sums[term * kWidth + lane] += static_cast<double>(terms[term][lane]);
  }
}

template <class Operand>
auto pixels_of_frame(bool squared, int64_t whole) {
  const auto of = [=](auto length) {
    constexpr int64_t known = decltype(length)::value;
    return squared ? pixels_of_frame<true, known, Operand> : pixels_of_frame<false, known, Operand>;
  };
  if (whole == kWidth) return of(std::integral_constant<int64_t, kWidth>());
  if (whole == 8) return of(std::integral_constant<int64_t, 8>());
  if (whole == 4) return of(std::integral_constant<int64_t, 4>());
  return of(std::integral_constant<int64_t, 0>());
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

  for (int64_t first = 0; first < a.patch * a.patch; first += kWidth) {
    const Pixels pixels = take_pixels(a, bias, first);
    for (int head = 0; head < 2; ++head)
      pack_columns(weights[head], a.c, [&](int64_t column) {
        const int64_t pixel = column % kWidth, value = (first + pixel) * kChannels + column / kWidth;
        return pixel < pixels.count ? static_cast<const T*>(a.head[head].weight) + value * a.c : nullptr;
      });
    const auto one = pixels_of_frame<Operand>(a.squared, pixels.whole);
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
