// A vector of int16 lanes (or half as many int32, or twice as many bytes) and the operations that the row kernels
// need, for the instruction set this translation unit is compiled for.
//
// `lo` and `hi` interleave 16-bit lanes within 128-bit parts and `pack` undoes exactly that: a kernel that uses all
// three never sees the order in between. `join` (to int16) and `pack8` (to bytes) narrow two vectors in plain order,
// `pack8_in_turn` to a0 b0 a1 b1 ... All four saturate. `madd` multiplies 16-bit lanes and adds up neighbours.
// `parts(f)` is f(0), f(1), ... of 128 bits.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__SSE2__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace aedmae {
namespace AEDMAE_ISA {
namespace {

#if defined(__SSE2__)
using Part = __m128i;  // 128 bits of a vector
inline Part part32(int a, int b, int c, int d) { return _mm_setr_epi32(a, b, c, d); }
inline Part part_at(const void* p) { return _mm_loadu_si128(static_cast<const Part*>(p)); }
#endif

#if defined(__AVX512BW__)

using Vec = __m512i;
constexpr int kLanes = 32;
inline Vec load(const void* p) { return _mm512_loadu_si512(p); }
inline Vec load8(const uint8_t* p) {
  return _mm512_cvtepu8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
inline void store(void* p, Vec a) { _mm512_storeu_si512(p, a); }
inline Vec all16(int v) { return _mm512_set1_epi16(static_cast<int16_t>(v)); }
inline Vec all32(int v) { return _mm512_set1_epi32(v); }
inline Vec add16(Vec a, Vec b) { return _mm512_add_epi16(a, b); }
inline Vec add32(Vec a, Vec b) { return _mm512_add_epi32(a, b); }
inline Vec sub16(Vec a, Vec b) { return _mm512_sub_epi16(a, b); }
inline Vec mulhi16(Vec a, Vec b) { return _mm512_mulhi_epi16(a, b); }  // (a * b) >> 16
inline Vec madd(Vec a, Vec b) { return _mm512_madd_epi16(a, b); }
template <int n>
inline Vec shl16(Vec a) {
  return _mm512_slli_epi16(a, n);
}
template <int n>
inline Vec shr16(Vec a) {
  return _mm512_srli_epi16(a, n);
}
template <int n>
inline Vec shr32(Vec a) {
  return _mm512_srai_epi32(a, n);
}
inline Vec clip8(Vec a) { return _mm512_min_epi16(_mm512_max_epi16(a, all16(0)), all16(255)); }
inline Vec lo(Vec a, Vec b) { return _mm512_unpacklo_epi16(a, b); }
inline Vec hi(Vec a, Vec b) { return _mm512_unpackhi_epi16(a, b); }
inline Vec pack(Vec a, Vec b) { return _mm512_packs_epi32(a, b); }
inline Vec plain_order(Vec a) { return _mm512_permutexvar_epi64(_mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7), a); }
inline Vec join(Vec a, Vec b) { return plain_order(pack(a, b)); }
inline Vec pack8(Vec a, Vec b) { return plain_order(_mm512_packus_epi16(a, b)); }
inline Vec pack8_in_turn(Vec a, Vec b) {
  const Part in_turn = _mm_setr_epi8(0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15);
  return _mm512_shuffle_epi8(_mm512_packus_epi16(a, b), _mm512_broadcast_i32x4(in_turn));
}
#define AEDMAE_HAS_SHUFFLE8  // a byte position with its top bit set gives 0
inline Vec shuffle8(Vec a, Vec bytes) { return _mm512_shuffle_epi8(a, bytes); }
inline Vec select(Vec mask, Vec a, Vec b) { return _mm512_ternarylogic_epi32(mask, a, b, 0xca); }
#define AEDMAE_HAS_PERMUTE16  // 32 lanes of the 64 of a and b
inline Vec permute16(Vec a, Vec b, Vec lanes) { return _mm512_permutex2var_epi16(a, lanes, b); }
inline Vec mulhrs16(Vec a, Vec b) { return _mm512_mulhrs_epi16(a, b); }  // (a * b + 2^14) >> 15
template <class F>
inline Vec parts(F part) {
  const __m256i a = _mm256_inserti128_si256(_mm256_castsi128_si256(part(0)), part(1), 1);
  const __m256i b = _mm256_inserti128_si256(_mm256_castsi128_si256(part(2)), part(3), 1);
  return _mm512_inserti64x4(_mm512_castsi256_si512(a), b, 1);
}
inline void store_parts(uint8_t* out, Vec a, Vec b, Vec c) {  // part 0 of a, b, c, then part 1 of a, b, c, ...
  const auto pick = [](Vec x, Vec y, int i, int j, int k, int l) {
    return _mm512_permutex2var_epi64(x, _mm512_setr_epi64(i, i + 1, j, j + 1, k, k + 1, l, l + 1), y);
  };
  store(out, pick(pick(a, b, 0, 8, 2, 10), c, 0, 2, 8, 4));
  store(out + 64, pick(pick(b, c, 2, 10, 4, 12), a, 0, 2, 12, 4));
  store(out + 128, pick(pick(c, a, 4, 14, 6, 0), b, 0, 2, 14, 4));
}

#elif defined(__AVX2__)

using Vec = __m256i;
constexpr int kLanes = 16;
inline Vec load(const void* p) { return _mm256_loadu_si256(static_cast<const Vec*>(p)); }
inline Vec load8(const uint8_t* p) { return _mm256_cvtepu8_epi16(part_at(p)); }
inline void store(void* p, Vec a) { _mm256_storeu_si256(static_cast<Vec*>(p), a); }
inline Vec all16(int v) { return _mm256_set1_epi16(static_cast<int16_t>(v)); }
inline Vec all32(int v) { return _mm256_set1_epi32(v); }
inline Vec add16(Vec a, Vec b) { return _mm256_add_epi16(a, b); }
inline Vec add32(Vec a, Vec b) { return _mm256_add_epi32(a, b); }
inline Vec sub16(Vec a, Vec b) { return _mm256_sub_epi16(a, b); }
inline Vec mulhi16(Vec a, Vec b) { return _mm256_mulhi_epi16(a, b); }  // (a * b) >> 16
inline Vec madd(Vec a, Vec b) { return _mm256_madd_epi16(a, b); }
template <int n>
inline Vec shl16(Vec a) {
  return _mm256_slli_epi16(a, n);
}
template <int n>
inline Vec shr16(Vec a) {
  return _mm256_srli_epi16(a, n);
}
template <int n>
inline Vec shr32(Vec a) {
  return _mm256_srai_epi32(a, n);
}
inline Vec clip8(Vec a) { return _mm256_min_epi16(_mm256_max_epi16(a, all16(0)), all16(255)); }
inline Vec lo(Vec a, Vec b) { return _mm256_unpacklo_epi16(a, b); }
inline Vec hi(Vec a, Vec b) { return _mm256_unpackhi_epi16(a, b); }
inline Vec pack(Vec a, Vec b) { return _mm256_packs_epi32(a, b); }
inline Vec plain_order(Vec a) { return _mm256_permute4x64_epi64(a, 0b11'01'10'00); }
inline Vec join(Vec a, Vec b) { return plain_order(pack(a, b)); }
inline Vec pack8(Vec a, Vec b) { return plain_order(_mm256_packus_epi16(a, b)); }
inline Vec pack8_in_turn(Vec a, Vec b) {
  const Part in_turn = _mm_setr_epi8(0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15);
  return _mm256_shuffle_epi8(_mm256_packus_epi16(a, b), _mm256_broadcastsi128_si256(in_turn));
}
#define AEDMAE_HAS_SHUFFLE8  // a byte position with its top bit set gives 0
inline Vec shuffle8(Vec a, Vec bytes) { return _mm256_shuffle_epi8(a, bytes); }
inline Vec select(Vec mask, Vec a, Vec b) { return _mm256_blendv_epi8(b, a, mask); }
template <class F>
inline Vec parts(F part) {
  return _mm256_inserti128_si256(_mm256_castsi128_si256(part(0)), part(1), 1);
}
inline void store_parts(uint8_t* out, Vec a, Vec b, Vec c) {
  store(out, _mm256_permute2x128_si256(a, b, 0x20));
  store(out + 32, _mm256_permute2x128_si256(c, a, 0x30));
  store(out + 64, _mm256_permute2x128_si256(b, c, 0x31));
}

#elif defined(__SSE2__)

using Vec = __m128i;
constexpr int kLanes = 8;
inline Vec load(const void* p) { return part_at(p); }
inline Vec load8(const uint8_t* p) {
  return _mm_unpacklo_epi8(_mm_loadl_epi64(reinterpret_cast<const Vec*>(p)), _mm_setzero_si128());
}
inline void store(void* p, Vec a) { _mm_storeu_si128(static_cast<Vec*>(p), a); }
inline Vec all16(int v) { return _mm_set1_epi16(static_cast<int16_t>(v)); }
inline Vec all32(int v) { return _mm_set1_epi32(v); }
inline Vec add16(Vec a, Vec b) { return _mm_add_epi16(a, b); }
inline Vec add32(Vec a, Vec b) { return _mm_add_epi32(a, b); }
inline Vec sub16(Vec a, Vec b) { return _mm_sub_epi16(a, b); }
inline Vec mulhi16(Vec a, Vec b) { return _mm_mulhi_epi16(a, b); }  // (a * b) >> 16
inline Vec madd(Vec a, Vec b) { return _mm_madd_epi16(a, b); }
template <int n>
inline Vec shl16(Vec a) {
  return _mm_slli_epi16(a, n);
}
template <int n>
inline Vec shr16(Vec a) {
  return _mm_srli_epi16(a, n);
}
template <int n>
inline Vec shr32(Vec a) {
  return _mm_srai_epi32(a, n);
}
inline Vec clip8(Vec a) { return _mm_min_epi16(_mm_max_epi16(a, all16(0)), all16(255)); }
inline Vec lo(Vec a, Vec b) { return _mm_unpacklo_epi16(a, b); }
inline Vec hi(Vec a, Vec b) { return _mm_unpackhi_epi16(a, b); }
inline Vec pack(Vec a, Vec b) { return _mm_packs_epi32(a, b); }
inline Vec join(Vec a, Vec b) { return pack(a, b); }
inline Vec pack8(Vec a, Vec b) { return _mm_packus_epi16(a, b); }
inline Vec pack8_in_turn(Vec a, Vec b) {
  const Vec both = pack8(a, b);
  return _mm_unpacklo_epi8(both, _mm_srli_si128(both, 8));
}
template <class F>
inline Vec parts(F part) {
  return part(0);
}

#elif defined(__aarch64__)

using Vec = int16x8_t;
using Part = Vec;
constexpr int kLanes = 8;
inline int32x4_t s32(Vec a) { return vreinterpretq_s32_s16(a); }
inline Vec vec(int32x4_t a) { return vreinterpretq_s16_s32(a); }
inline Vec vec(uint16x8_t a) { return vreinterpretq_s16_u16(a); }
inline Vec vec(uint8x16_t a) { return vreinterpretq_s16_u8(a); }
inline uint8x16_t u8(Vec a) { return vreinterpretq_u8_s16(a); }
inline Part part32(int a, int b, int c, int d) { return vec(int32x4_t{a, b, c, d}); }
inline Part part_at(const void* p) { return vec(vld1q_u8(static_cast<const uint8_t*>(p))); }
inline Vec load(const void* p) { return part_at(p); }
inline Vec load8(const uint8_t* p) { return vec(vmovl_u8(vld1_u8(p))); }
inline void store(void* p, Vec a) { vst1q_u8(static_cast<uint8_t*>(p), u8(a)); }
inline Vec all16(int v) { return vdupq_n_s16(static_cast<int16_t>(v)); }
inline Vec all32(int v) { return vec(vdupq_n_s32(v)); }
inline Vec add16(Vec a, Vec b) { return vaddq_s16(a, b); }
inline Vec add32(Vec a, Vec b) { return vec(vaddq_s32(s32(a), s32(b))); }
inline Vec sub16(Vec a, Vec b) { return vsubq_s16(a, b); }
inline Vec mulhi16(Vec a, Vec b) {  // (a * b) >> 16
  return vuzp2q_s16(vec(vmull_s16(vget_low_s16(a), vget_low_s16(b))), vec(vmull_high_s16(a, b)));
}
inline Vec madd(Vec a, Vec b) {
  return vec(vpaddq_s32(vmull_s16(vget_low_s16(a), vget_low_s16(b)), vmull_high_s16(a, b)));
}
template <int n>
inline Vec shl16(Vec a) {
  return vshlq_n_s16(a, n);
}
template <int n>
inline Vec shr16(Vec a) {
  return vec(vshrq_n_u16(vreinterpretq_u16_s16(a), n));
}
template <int n>
inline Vec shr32(Vec a) {
  return vec(vshlq_s32(s32(a), vdupq_n_s32(-n)));
}
inline Vec clip8(Vec a) { return vminq_s16(vmaxq_s16(a, all16(0)), all16(255)); }
inline Vec lo(Vec a, Vec b) { return vzip1q_s16(a, b); }
inline Vec hi(Vec a, Vec b) { return vzip2q_s16(a, b); }
inline Vec pack(Vec a, Vec b) { return vqmovn_high_s32(vqmovn_s32(s32(a)), s32(b)); }
inline Vec join(Vec a, Vec b) { return pack(a, b); }
inline Vec pack8(Vec a, Vec b) { return vec(vqmovun_high_s16(vqmovun_s16(a), b)); }
inline Vec pack8_in_turn(Vec a, Vec b) {
  const uint8x8x2_t both = vzip_u8(vqmovun_s16(a), vqmovun_s16(b));
  return vec(vcombine_u8(both.val[0], both.val[1]));
}
#define AEDMAE_HAS_SHUFFLE8
inline Vec shuffle8(Vec a, Vec bytes) { return vec(vqtbl1q_u8(u8(a), u8(bytes))); }
template <class F>
inline Vec parts(F part) {
  return part(0);
}

#else
#error "simd.h has no operations for this CPU yet: x86-64 and aarch64 only"
#endif

// Two int16 as one 32-bit lane, the even one in front: what `madd` multiplies and adds up.
inline int32_t pair(int even, int odd) {
  return static_cast<int32_t>((static_cast<uint32_t>(even) & 0xffff) | static_cast<uint32_t>(odd) << 16);
}

// 2 * kLanes pixels of three bytes that take turns in memory, a b c a b c ...: load_three takes them apart, store_bgr
// puts them together.
struct Three {
  Vec a, b, c;
};

#if defined(__AVX2__)
// Byte i of the k-th 16 of 48 belongs to channel (k + i) % 3 and pixel (16 k + i) / 3. So each channel has one byte for
// every i, in one of the three: one shuffle each, and taking them in turns.
struct Turns {
  int8_t pixel[3][64], byte[3][64], turn[3][64];
  constexpr Turns() : pixel(), byte(), turn() {
    for (int c = 0; c < 3; ++c)
      for (int i = 0; i < 64; ++i) {
        pixel[c][i] = static_cast<int8_t>((16 * ((c + 2 * (i % 16)) % 3) + i % 16) / 3);
        byte[c][i] = static_cast<int8_t>((3 * (i % 16) + c) % 16);
        turn[c][i] = (i % 16) % 3 == c ? -1 : 0;
      }
  }
};
constexpr Turns kTurns;
inline Vec turns(Vec first, Vec second, Vec third) {
  return select(load(kTurns.turn[0]), first, select(load(kTurns.turn[1]), second, third));
}
inline Three load_three(const uint8_t* p) {
  const auto sixteenth = [p](int k) { return parts([p, k](int j) { return part_at(p + 48 * j + 16 * k); }); };
  const Vec x = sixteenth(0), y = sixteenth(1), z = sixteenth(2);
  return {shuffle8(turns(x, z, y), load(kTurns.byte[0])), shuffle8(turns(y, x, z), load(kTurns.byte[1])),
          shuffle8(turns(z, y, x), load(kTurns.byte[2]))};
}
inline void store_bgr(uint8_t* out, Vec b, Vec g, Vec r) {
  const Vec x = shuffle8(b, load(kTurns.pixel[0])), y = shuffle8(g, load(kTurns.pixel[1])),
            z = shuffle8(r, load(kTurns.pixel[2]));
  store_parts(out, turns(x, y, z), turns(y, z, x), turns(z, x, y));
}
#elif defined(__SSE2__)
inline Three load_three(const uint8_t* p) {
  uint8_t c[3][16];
  for (int x = 0; x < 16; ++x)
    for (int k = 0; k < 3; ++k) c[k][x] = p[3 * x + k];
  return {load(c[0]), load(c[1]), load(c[2])};
}
inline void store_bgr(uint8_t* out, Vec b, Vec g, Vec r) {
  uint8_t c[3][16];
  store(c[0], b), store(c[1], g), store(c[2], r);
  for (int x = 0; x < 16; ++x)
    for (int k = 0; k < 3; ++k) out[3 * x + k] = c[k][x];
}
#elif defined(__aarch64__)
inline Three load_three(const uint8_t* p) {
  const uint8x16x3_t c = vld3q_u8(p);
  return {vec(c.val[0]), vec(c.val[1]), vec(c.val[2])};
}
inline void store_bgr(uint8_t* out, Vec b, Vec g, Vec r) { vst3q_u8(out, uint8x16x3_t{{u8(b), u8(g), u8(r)}}); }
#endif

}  // namespace
}  // namespace AEDMAE_ISA
}  // namespace aedmae
