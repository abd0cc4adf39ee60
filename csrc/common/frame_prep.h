// The formulas of frame_prep, shared by the C++ and the CUDA kernel. All of it is integer arithmetic, so that every
// backend gives the same bytes; aedmae_fast/ops/frame_prep.py is the executable specification.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__CUDACC__)
#define AEDMAE_HD __host__ __device__
#else
#define AEDMAE_HD
#endif

namespace aedmae {

// Everything frame_prep is asked to do. Strides are in bytes, and any will do: packed formats are planes whose samples
// take turns (NV12: U and V 2 bytes apart; YCbCr 4:4:4 and BGR: all three 3 bytes apart).
struct FramePrep {
  const uint8_t* plane[3];  // Y, U, V | Y | B, G, R
  int64_t frame_stride[3];
  int64_t row_stride[3];
  int64_t pixel_stride[3];
  int32_t planes;        // 3, or 1 for grey
  int32_t is_bgr;        // 1: the planes are colours already
  int32_t sub_y, sub_x;  // chroma sub-sampling, 1 or 2
  int32_t kr, kb;        // the matrix' luma weights of red and blue, in units of 1e-4
  int32_t full_range;    // 0: Y in 16..235, chroma in 16..240; 1: both in 0..255
  int32_t frames, height, width;
  void* out;  // BGR [frames, out_height, out_width, 3], contiguous
  int32_t out_height, out_width;
  int32_t bfloat16;  // what `out` holds: 0: uint8; 1: the same levels in bfloat16
};

// Functions here are `static`: each translation unit, compiled for its own instruction set, keeps its own copy. An
// inline function would be merged by the linker into one copy, perhaps of an instruction set the CPU does not have.

// Colour: R = clip8((y * Y16 + rv * V16 + 2^16) >> 17), and so on; Y16 = 16 * (Y - y_offset), U16 and V16 are chroma
// at 16 times its scale less 2048. Coefficients are Q13 and fit int16; every sum fits int32.
struct Colour {
  int32_t y_offset, y, rv, gu, gv, bu;
};

AEDMAE_HD static inline int32_t round_div(int64_t num, int64_t den) {  // num >= 0: nearest integer, halves up
  return static_cast<int32_t>((2 * num + den) / (2 * den));
}

AEDMAE_HD static inline Colour make_colour(int32_t kr, int32_t kb, bool full_range) {
  const int64_t one = 10000, kg = one - kr - kb;
  const int64_t q13 = 8192 * 255, y_range = full_range ? 255 : 219, c_range = full_range ? 255 : 224;
  return {full_range ? 0 : 16,
          round_div(q13, y_range),
          round_div(q13 * 2 * (one - kr), c_range * one),
          -round_div(q13 * 2 * (one - kb) * kb, c_range * one * kg),
          -round_div(q13 * 2 * (one - kr) * kr, c_range * one * kg),
          round_div(q13 * 2 * (one - kb), c_range * one)};
}

// Resize: output i is ((2048 - weight) * p[index] + weight * p[index + 1]) / 2048, half-pixel centres, edges clamped
// (then weight is 0, and p[index + 1] must not be read).
struct Tap {
  int32_t index, weight;  // weight in 0..2048
};

// Of sizes up to 16384, so that all of it fits int32.
AEDMAE_HD static inline Tap make_tap(int32_t i, int32_t from, int32_t to) {
  const int32_t num = (2 * i + 1) * from - to, den = 2 * to;
  const int32_t index = num < 0 ? -1 : num / den;
  if (index < 0) return {0, 0};
  if (index >= from - 1) return {from - 1, 0};
  return {index, ((num - index * den) * 2048 + to) / den};
}

// Chroma to the luma grid, centre-sited: luma position x takes 3 parts of sample `near` and 1 part of sample `far`.
AEDMAE_HD static inline int32_t chroma_near(int32_t x, int32_t sub) { return sub == 2 ? x / 2 : x; }

AEDMAE_HD static inline int32_t chroma_far(int32_t x, int32_t sub, int32_t size) {
  if (sub == 1) return x;
  const int32_t far = x / 2 + (x % 2 ? 1 : -1);
  return far < 0 ? 0 : far < size ? far : size - 1;
}

AEDMAE_HD static inline int32_t clip8(int32_t v) { return v < 0 ? 0 : v > 255 ? 255 : v; }

// The bits of a level, 0..255, in bfloat16: float32's upper half. Its 8 significant bits hold every level exactly.
AEDMAE_HD static inline uint16_t bfloat16_bits(int32_t level) {
  const float value = static_cast<float>(level);
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return static_cast<uint16_t>(bits >> 16);
}

}  // namespace aedmae
