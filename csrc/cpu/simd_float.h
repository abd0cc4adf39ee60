// A vector of float lanes for the instruction set this translation unit is compiled for.
//
// Arithmetic is that of GCC's and Clang's vector types, `a + b`, `a < b ? a : b`; what those cannot say, or say slowly,
// is a function here. bfloat16 is a storage type: it widens exactly, and stores round to the nearest even.
#pragma once

#include <cstdint>
#include <cstring>

#include "network.h"

#if defined(__SSE2__)
#include <immintrin.h>
#endif

namespace aedmae {
namespace AEDMAE_ISA {
namespace {

#if defined(__AVX512F__)
constexpr int kWidth = 16;
#elif defined(__AVX2__)
constexpr int kWidth = 8;
#else
constexpr int kWidth = 4;
#endif

typedef float Float __attribute__((vector_size(4 * kWidth)));
typedef int32_t Int __attribute__((vector_size(4 * kWidth)));
typedef uint32_t Uint __attribute__((vector_size(4 * kWidth)));
typedef uint16_t Half __attribute__((vector_size(2 * kWidth)));

// So many vectors go through a long chain of operations side by side: one alone waits for each of its results.
// A block's rows (gemm.h) are a multiple of them.
#if defined(__AMX_TILE__)
constexpr int kAtOnce = 4;
#elif defined(__AVX512F__)
constexpr int kAtOnce = 3;
#else
constexpr int kAtOnce = 1;
#endif

constexpr int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }
inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

inline Float all(float value) { return value - Float{}; }  // x - 0 is x; x + 0 would be a sum, for -0

inline Float load(const float* p) {
  Float a;
  std::memcpy(&a, p, sizeof a);
  return a;
}

inline Float load(const Bf16* p) {
  Half bits;
  std::memcpy(&bits, p, sizeof bits);
#if defined(__AVX512F__)
  return (Float)_mm512_slli_epi32(_mm512_cvtepu16_epi32((__m256i)bits), 16);
#elif defined(__AVX2__)
  return (Float)_mm256_slli_epi32(_mm256_cvtepu16_epi32((__m128i)bits), 16);
#else
  return (Float)(__builtin_convertvector(bits, Uint) << 16);
#endif
}

inline Float load(const uint8_t* p) {
#if defined(__AVX512F__)
  return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
#elif defined(__AVX2__)
  return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
#else
  Float a;
  for (int i = 0; i < kWidth; ++i) a[i] = p[i];
  return a;
#endif
}

inline void store(float* p, Float a) { std::memcpy(p, &a, sizeof a); }

inline void store(Bf16* p, Float a) {
#if defined(__AVX512BF16__)
  const Half bits = (Half)_mm512_cvtneps_pbh(a);
#else
  const Uint u = (Uint)a;
  const Uint rounded = (u + 0x7fff + ((u >> 16) & 1)) >> 16;
  const Half bits = __builtin_convertvector(a == a ? rounded : Uint{} + 0x7fc0, Half);  // NaN must not round to 0
#endif
  std::memcpy(p, &bits, sizeof bits);
}

// The first `live` lanes only, zeros in the others.
template <class T>
inline Float load(const T* p, int64_t live) {
  if (live >= kWidth) return load(p);
  T lanes[kWidth] = {};
  std::memcpy(lanes, p, live * sizeof(T));
  return load(lanes);
}

template <class T>
inline void store(T* p, Float a, int64_t live) {
  if (live >= kWidth) return store(p, a);
  T lanes[kWidth];
  store(lanes, a);
  std::memcpy(p, lanes, live * sizeof(T));
}

// The first `live` lanes of `a`, fewer than all; the others are those of `rest`.
inline Float first_lanes(Float a, int64_t live, Float rest = all(0)) {
#if defined(__AVX512F__)
  return _mm512_mask_mov_ps(rest, static_cast<__mmask16>((1 << live) - 1), a);
#else
  for (int i = 0; i < kWidth; ++i) a[i] = i < live ? a[i] : rest[i];
  return a;
#endif
}

// a * b + c, fused where the instruction set has it.
inline Float fma(Float a, Float b, Float c) {
#if defined(__AVX512F__)
  return _mm512_fmadd_ps(a, b, c);
#elif defined(__AVX2__)
  return _mm256_fmadd_ps(a, b, c);
#else
  return a * b + c;
#endif
}

// The same; what it is the product of is not fused with what it is added to.
inline Float rounded(Float a) {
#if defined(__AVX512F__)
  asm("" : "+v"(a));
#elif defined(__SSE2__)
  asm("" : "+x"(a));
#elif defined(__aarch64__)
  asm("" : "+w"(a));
#endif
  return a;
}

// The larger; `b` where one of them is NaN.
inline Float max(Float a, Float b) {
#if defined(__AVX512F__)
  return _mm512_max_ps(a, b);
#else
  return a > b ? a : b;
#endif
}

inline Float abs(Float a) { return (Float)((Uint)a & 0x7fffffff); }

// Sum and maximum of the lanes, always in the same order.
inline float sum(Float a) {
#if defined(__AVX512F__)
  return _mm512_reduce_add_ps(a);
#else
  float total = 0;
  for (int i = 0; i < kWidth; ++i) total += a[i];
  return total;
#endif
}

inline float max(Float a) {
#if defined(__AVX512F__)
  return _mm512_reduce_max_ps(a);
#else
  float most = a[0];
  for (int i = 1; i < kWidth; ++i) most = most > a[i] ? most : a[i];
  return most;
#endif
}

inline int32_t max(Int a) {
#if defined(__AVX512F__)
  return _mm512_reduce_max_epi32((__m512i)a);
#else
  int32_t most = a[0];
  for (int i = 1; i < kWidth; ++i) most = most > a[i] ? most : a[i];
  return most;
#endif
}

// p = c[0] + c[1] x + c[2] x^2 + ...
template <int terms, int n>
inline void polynomial(const float (&c)[terms], const Float (&x)[n], Float (&p)[n]) {
  for (Float& value : p) value = all(c[terms - 1]);
#pragma GCC unroll 8
  for (int term = terms - 2; term >= 0; --term)
#pragma GCC unroll 8
    for (int i = 0; i < n; ++i) p[i] = fma(p[i], x[i], all(c[term]));
}

// 2^x on [-0.5, 0.5]: a minimax polynomial of relative error 7e-8.
constexpr float kExp2[] = {1.0000000716546726f,    0.6931469670644556f,   0.24022119723872543f,
                           5.5507132739982860e-2f, 9.675541333142532e-3f, 1.3276471830623996e-3f};

// x becomes 2^x for x <= 0; below -125 something from 0 to 2^-125, of -inf too; NaN stays NaN; above 0 something, for
// lanes that nobody looks at. By minimax polynomials on [-0.5, 0.5] of relative error 7e-8, or, where the result will
// be rounded to bfloat16 anyway, 7e-5.
template <class Rounded, int n>
inline void exp2(Float (&x)[n]) {
  Float f[n], p[n];
#if defined(__AVX512F__)
#pragma GCC unroll 8
  for (int i = 0; i < n; ++i) f[i] = _mm512_reduce_ps(x[i], _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
#else
  Float shifted[n];
  for (int i = 0; i < n; ++i) {
    x[i] = max(all(-125), x[i]);
    shifted[i] = x[i] + 12583039.0f;  // 1.5 * 2^23 + 127: the nearest integer's exponent ends up in the lowest bits
    f[i] = x[i] - (shifted[i] - 12583039.0f);
  }
#endif
  constexpr float coarse[] = {0.9999280735491458f, 0.6932609856515787f, 0.24261112211402605f, 5.5171668023530795e-2f};
  if constexpr (sizeof(Rounded) == sizeof(float)) {
    polynomial(kExp2, f, p);
  } else {
    polynomial(coarse, f, p);
  }
#if defined(__AVX512F__)
#pragma GCC unroll 8
  for (int i = 0; i < n; ++i) x[i] = _mm512_scalef_ps(p[i], x[i] - f[i]);
#else
  for (int i = 0; i < n; ++i) x[i] = p[i] * (Float)((Uint)shifted[i] << 23);  // bits added could make a number of NaN
#endif
}

template <class Rounded>
inline Float exp2(Float x) {
  Float one[] = {x};
  exp2<Rounded>(one);
  return one[0];
}

// x becomes x * Phi(x), Phi the normal distribution: the GELU of erf. |error| < 4e-7 * max(1, |x|).
//
//   gelu(x) = max(x, 0) - a * Phi(-a),   a = |x|,   Phi(-a) = 2^-(1 + a * q(a))
//
// with q fitted so that the error of a * Phi(-a) is minimax (8e-8). No division, and no cancellation for x < 0.
template <int n>
inline void gelu(Float (&x)[n]) {
  constexpr float c[] = {1.1511471f, 0.45891568f, 5.323819e-2f, -7.977462e-3f, 7.398740e-4f, -2.992416e-5f};
  Float inner[n], p[n];
#pragma GCC unroll 8
  for (int i = 0; i < n; ++i) {
    const Float a = abs(x[i]);
    inner[i] = a < 8.0f ? a : all(8);  // beyond, Phi(-a) < 1e-14 and q would turn round
  }
  polynomial(c, inner, p);
#pragma GCC unroll 8
  for (int i = 0; i < n; ++i) p[i] = -fma(inner[i], p[i], all(1));
  exp2<float>(p);
#pragma GCC unroll 8
  for (int i = 0; i < n; ++i) x[i] = max(all(0), x[i]) - abs(x[i]) * p[i];
}

}  // namespace
}  // namespace AEDMAE_ISA
}  // namespace aedmae
