// The row kernels of frame_prep, compiled once per instruction set, each in a namespace of its own.
//
// Rows are passed one by one as __restrict pointers: a vector store may alias anything, so that pointers in a struct
// would be loaded again after each one.
#pragma once

#include <cstring>

#include "frame_prep_rows.h"
#include "simd.h"

namespace aedmae {
namespace AEDMAE_ISA {
namespace {

inline int32_t pair_at(const uint8_t* p) { return pair(p[0], p[1]); }
inline int32_t pair_at(const int16_t* p) {
  int32_t both;
  std::memcpy(&both, p, sizeof both);
  return both;
}

// The pairs (src[index[i]], src[index[i] + 1]) of half a vector of results.
template <bool near, class T>
inline Vec pairs(const T* src, const int32_t* index, [[maybe_unused]] const int32_t* shuffle) {
#if defined(AEDMAE_HAS_SHUFFLE8)
  if (near) return shuffle8(parts([&](int k) { return part_at(src + index[4 * k]); }), load(shuffle));
#endif
  return parts([&](int k) {
    const int32_t* four = index + 4 * k;
    return part32(pair_at(src + four[0]), pair_at(src + four[1]), pair_at(src + four[2]), pair_at(src + four[3]));
  });
}

// dst[i] = (weights[i] . pairs(src, i) + bias) >> shift
template <bool near, int bias, int shift, class T>
void resample(const int32_t* __restrict index, const int32_t* __restrict shuffle, const int32_t* __restrict weights,
              int n, const T* __restrict src, int16_t* __restrict dst) {
  constexpr int kHalf = kLanes / 2;
  for (int i = 0; i < n; i += kLanes) {
    const Vec a = madd(pairs<near>(src, index + i, shuffle + i), load(weights + i));
    const Vec b = madd(pairs<near>(src, index + i + kHalf, shuffle + i + kHalf), load(weights + i + kHalf));
    store(dst + i, join(shr32<shift>(add32(a, all32(bias))), shr32<shift>(add32(b, all32(bias)))));
  }
}

template <int bias, int shift, class T>
void resample(const Resample& r, int n, const T* src, int16_t* dst) {
  const auto run = r.near ? resample<true, bias, shift, T> : resample<false, bias, shift, T>;
  run(r.index, r.shuffle, r.weights, n, src, dst);
}

// Chroma of a luma row, at 4 times its scale, from the chroma rows above and below; the edges are repeated once.
void between_rows(const uint8_t* __restrict near, const uint8_t* __restrict far, int n, int16_t* __restrict row) {
  for (int k = 0; k < n; ++k) row[k] = static_cast<int16_t>(3 * near[k] + far[k]);
  row[-1] = row[0];
  row[n] = row[n - 1];
}

// Luma and chroma at 16 times their scale -> colours. Their offsets are constants in the sums, added with the rounding.
struct Matrix {
  explicit Matrix(const Colour& c)
      : b_yu(all32(pair(c.y, c.bu))),
        g_yu(all32(pair(c.y, c.gu))),
        g_yv(all32(pair(0, c.gv))),
        r_yv(all32(pair(c.y, c.rv))),
        b_add(all32((1 << 16) - 16 * c.y_offset * c.y - 2048 * c.bu)),
        g_add(all32((1 << 16) - 16 * c.y_offset * c.y - 2048 * (c.gu + c.gv))),
        r_add(all32((1 << 16) - 16 * c.y_offset * c.y - 2048 * c.rv)) {}

  struct Bgr {
    Vec b, g, r;  // int16, not clipped
  };

  inline Bgr operator()(Vec y, Vec u, Vec v) const {
    const Vec yu0 = lo(y, u), yu1 = hi(y, u), yv0 = lo(y, v), yv1 = hi(y, v);
    return {narrow(madd(yu0, b_yu), madd(yu1, b_yu), b_add),
            narrow(add32(madd(yu0, g_yu), madd(yv0, g_yv)), add32(madd(yu1, g_yu), madd(yv1, g_yv)), g_add),
            narrow(madd(yv0, r_yv), madd(yv1, r_yv), r_add)};
  }

 private:
  static inline Vec narrow(Vec first, Vec second, Vec add) {
    return pack(shr32<17>(add32(first, add)), shr32<17>(add32(second, add)));
  }

  Vec b_yu, g_yu, g_yv, r_yv, b_add, g_add, r_add;
};

// n pixels of Y, U, V at 16 times their scale -> bytes.
void convert(const Matrix matrix, int n, const int16_t* __restrict y, const int16_t* __restrict u,
             const int16_t* __restrict v, uint8_t* __restrict b, uint8_t* __restrict g, uint8_t* __restrict r) {
  for (int x = 0; x < n; x += 2 * kLanes) {
    const Matrix::Bgr first = matrix(load(y + x), load(u + x), load(v + x));
    const Matrix::Bgr second = matrix(load(y + x + kLanes), load(u + x + kLanes), load(v + x + kLanes));
    store(b + x, pack8(first.b, second.b));
    store(g + x, pack8(first.g, second.g));
    store(r + x, pack8(first.r, second.r));
  }
}

// The same for a whole row with chroma sub-sampled in x. It falls apart into even and odd pixels: a 16-bit lane of luma
// holds one of each, and both take 3 parts of one chroma sample; the even one takes 1 part of the sample before, the
// odd one of the sample after.
void convert_whole(const Matrix matrix, int n, const uint8_t* __restrict y, const int16_t* __restrict u,
                   const int16_t* __restrict v, uint8_t* __restrict b, uint8_t* __restrict g, uint8_t* __restrict r) {
  const auto three = [](Vec c) { return add16(add16(c, c), c); };
  for (int k = 0; 2 * k < n; k += kLanes) {
    const Vec u3 = three(load(u + k)), v3 = three(load(v + k)), luma = load(y + 2 * k);
    const Matrix::Bgr even = matrix(shr16<4>(shl16<8>(luma)), add16(u3, load(u + k - 1)), add16(v3, load(v + k - 1)));
    const Matrix::Bgr odd = matrix(shl16<4>(shr16<8>(luma)), add16(u3, load(u + k + 1)), add16(v3, load(v + k + 1)));
    store(b + 2 * k, or_(clip8(even.b), shl16<8>(clip8(odd.b))));
    store(g + 2 * k, or_(clip8(even.g), shl16<8>(clip8(odd.g))));
    store(r + 2 * k, or_(clip8(even.r), shl16<8>(clip8(odd.r))));
  }
}

void times16(const uint8_t* __restrict row, int n, int16_t* __restrict out) {
  for (int x = 0; x < n; x += kLanes) store(out + x, shl16<4>(load8(row + x)));
}

void times4(const int16_t* __restrict row, int n, int16_t* __restrict out) {
  for (int x = 0; x < n; x += kLanes) store(out + x, shl16<2>(load(row + x)));
}

void times128(const uint8_t* __restrict row, int n, int16_t* __restrict out) {
  for (int x = 0; x < n; x += kLanes) store(out + x, shl16<7>(load8(row + x)));
}

void split_bgr(const uint8_t* __restrict row, int n, uint8_t* __restrict b, uint8_t* __restrict g,
               uint8_t* __restrict r) {
  for (int x = 0; x < n; ++x) b[x] = row[3 * x], g[x] = row[3 * x + 1], r[x] = row[3 * x + 2];
}

// Y, U, V of one source row -> the n pixels p.bgr. Of a grey source u_row and v_row stay 0.
void colours(const RowPlan& p, const SourceRow& s) {
  const Matrix matrix(p.colour);
  std::memcpy(p.luma, s.luma, p.width);  // the source must not be read past its end
  if (p.planes == 3) {
    const int chroma_width = (p.width + p.sub_x - 1) / p.sub_x;
    between_rows(s.u_near, s.u_far, chroma_width, p.u_row);
    between_rows(s.v_near, s.v_far, chroma_width, p.v_row);
  }
  if (p.sparse) {
    resample<0, 0>(p.luma_taps, p.n, p.luma, p.y);
    resample<0, 0>(p.chroma_taps, p.n, p.u_row, p.u);
    resample<0, 0>(p.chroma_taps, p.n, p.v_row, p.v);
  } else if (p.sub_x == 2) {
    convert_whole(matrix, p.n, p.luma, p.u_row, p.v_row, p.bgr[0], p.bgr[1], p.bgr[2]);
    return;
  } else {
    times16(p.luma, p.n, p.y);
    times4(p.u_row, p.n, p.u);
    times4(p.v_row, p.n, p.v);
  }
  convert(matrix, p.n, p.y, p.u, p.v, p.bgr[0], p.bgr[1], p.bgr[2]);
}

void source_row(const RowPlan& p, const SourceRow& s, int16_t* hq) {
  if (p.channels == 3)
    split_bgr(s.luma, p.width, p.bgr[0], p.bgr[1], p.bgr[2]);
  else
    colours(p, s);
  for (int c = 0; c < p.planes * p.channels; ++c) {
    int16_t* to = hq + c * padded(p.out_width);
    if (p.copies)
      times128(p.bgr[c], p.out_width, to);
    else
      resample<8, 4>(p.out_taps, p.out_width, p.bgr[c], to);
  }
}

void output_row(const RowPlan& p, const int16_t* __restrict hq0, const int16_t* __restrict hq1, int32_t weight,
                uint8_t* __restrict out) {
  const int n = p.out_width;
  const int64_t stride = p.planes * p.channels == 1 ? 0 : padded(n);
  const Vec weights = all32(pair(2048 - weight, weight)), half = all32(1 << 17);
  const auto blend = [&](int64_t i) {
    const Vec a = load(hq0 + i), b = load(hq1 + i);
    return pack(shr32<18>(add32(madd(lo(a, b), weights), half)), shr32<18>(add32(madd(hi(a, b), weights), half)));
  };
  const auto bytes = [&](int64_t i) { return pack8(blend(i), blend(i + kLanes)); };
  for (int x = 0; x < n; x += 2 * kLanes) {
    const Vec b = bytes(x), g = bytes(x + stride), r = bytes(x + 2 * stride);
    if (x + 2 * kLanes <= n) {
      store_bgr(out + 3 * x, b, g, r);
    } else {
      uint8_t last[6 * kLanes];
      store_bgr(last, b, g, r);
      std::memcpy(out + 3 * x, last, 3 * (n - x));
    }
  }
}

}  // namespace

extern const FramePrepRows frame_prep_rows{source_row, output_row};

}  // namespace AEDMAE_ISA
}  // namespace aedmae
