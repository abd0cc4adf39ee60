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

#if defined(AEDMAE_HAS_PERMUTE16)
// What resample<8, 4> gives, by the tables of a Blend.
void blend(const int32_t* __restrict index, const int16_t* __restrict word, const int16_t* __restrict slope, int n,
           const uint8_t* __restrict src, int16_t* __restrict dst) {
  for (int i = 0; i < n; i += kLanes) {
    const uint8_t* from = src + index[i];
    const Vec pq = permute16(load(from), load(from + 1), load(word + i));
    const Vec p128 = shr16<1>(shl16<8>(pq)), q128 = shl16<7>(shr16<8>(pq));
    store(dst + i, add16(p128, mulhrs16(sub16(p128, q128), load(slope + i))));
  }
}
#endif

// The n pixels of one colour -> the w pixels of the result, 128 times their scale.
void resize(const RowPlan& p, const uint8_t* colour, int16_t* dst) {
#if defined(AEDMAE_HAS_PERMUTE16)
  if (p.out_blend.fits) {
    blend(p.out_blend.index, p.out_blend.word, p.out_blend.slope, p.out_width, colour, dst);
    return;
  }
#endif
  resample<8, 4>(p.out_taps, p.out_width, colour, dst);
}

// vectors(x) for n results in steps of so many, the last of which may overlap the one before; where not even one step
// fits, single(x). So neither a source nor a result is touched past its end.
template <int step, class Vectors, class Single>
inline void in_steps(int n, Vectors vectors, Single single) {
  if (n < step)
    for (int x = 0; x < n; ++x) single(x);
  else
    for (int x = 0; x < n; x += step) vectors(x + step <= n ? x : n - step);
}

inline Vec three(Vec a) { return add16(add16(a, a), a); }

void repeat_edges(int n, int16_t* row) { row[-1] = row[0], row[n] = row[n - 1]; }

// Chroma of a luma row, at 4 times its scale, from the chroma rows above and below; the edges are repeated once.
void between_rows(const uint8_t* __restrict near, const uint8_t* __restrict far, int n, int16_t* __restrict row) {
  const auto vectors = [=](int k) { store(row + k, add16(three(load8(near + k)), load8(far + k))); };
  in_steps<kLanes>(n, vectors, [=](int k) { row[k] = static_cast<int16_t>(3 * near[k] + far[k]); });
  repeat_edges(n, row);
}

// The same where U and V take turns: a 16-bit lane holds one of each.
void between_rows(const uint8_t* __restrict near, const uint8_t* __restrict far, int n, int16_t* __restrict u,
                  int16_t* __restrict v) {
  const auto first = [](Vec a) { return shr16<8>(shl16<8>(a)); };
  const auto vectors = [=](int k) {
    const Vec most = load(near + 2 * k), rest = load(far + 2 * k);
    store(u + k, add16(three(first(most)), first(rest)));
    store(v + k, add16(three(shr16<8>(most)), shr16<8>(rest)));
  };
  in_steps<kLanes>(n, vectors, [=](int k) {
    u[k] = static_cast<int16_t>(3 * near[2 * k] + far[2 * k]);
    v[k] = static_cast<int16_t>(3 * near[2 * k + 1] + far[2 * k + 1]);
  });
  repeat_edges(n, u), repeat_edges(n, v);
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
// odd one of the sample after. Gives the pixels, or (T = int16_t, n / 2 of them) their means, 128 times the colour.
template <class T>
void convert_whole(const Matrix matrix, int n, const uint8_t* __restrict y, const int16_t* __restrict u,
                   const int16_t* __restrict v, T* __restrict b, T* __restrict g, T* __restrict r) {
  for (int k = 0; 2 * k < n; k += kLanes) {
    const Vec u3 = three(load(u + k)), v3 = three(load(v + k)), luma = load(y + 2 * k);
    const Matrix::Bgr even = matrix(shr16<4>(shl16<8>(luma)), add16(u3, load(u + k - 1)), add16(v3, load(v + k - 1)));
    const Matrix::Bgr odd = matrix(shl16<4>(shr16<8>(luma)), add16(u3, load(u + k + 1)), add16(v3, load(v + k + 1)));
    const auto put = [k](T* to, Vec first, Vec second) {
      if (sizeof(T) == 1)
        store(to + 2 * k, pack8_in_turn(first, second));
      else
        store(to + k, shl16<6>(add16(clip8(first), clip8(second))));
    };
    put(b, even.b, odd.b), put(g, even.g, odd.g), put(r, even.r, odd.r);
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

// n samples that lie `stride` bytes apart, side by side.
void gather(const uint8_t* __restrict row, int64_t stride, int n, uint8_t* __restrict out) {
  if (stride == 1)
    std::memcpy(out, row, n);
  else
    for (int x = 0; x < n; ++x) out[x] = row[x * stride];
}

// a b c a b c ...
void split3(const uint8_t* __restrict row, int n, uint8_t* __restrict a, uint8_t* __restrict b, uint8_t* __restrict c) {
  const auto vectors = [=](int x) {
    const Three v = load_three(row + 3 * x);
    store(a + x, v.a), store(b + x, v.b), store(c + x, v.c);
  };
  in_steps<2 * kLanes>(n, vectors, [=](int x) { a[x] = row[3 * x], b[x] = row[3 * x + 1], c[x] = row[3 * x + 2]; });
}

// Y, U, V of one source row -> p.luma, p.u_row, p.v_row. Of a grey source u_row and v_row stay 0.
void read_row(const RowPlan& p, const SourceRow& s) {
  const int n = (p.width + p.sub_x - 1) / p.sub_x;
  uint8_t* const* const c = p.chroma;
  if (p.turns == 3) {
    split3(s.near[0], n, p.luma, c[0], c[1]);
    between_rows(c[0], c[0], n, p.u_row);
    between_rows(c[1], c[1], n, p.v_row);
    return;
  }
  gather(s.near[0], p.pixel_stride[0], p.width, p.luma);  // even where contiguous: it is read past its end
  if (p.planes == 1) return;
  if (p.turns == 2) return between_rows(s.near[1], s.far[1], n, p.u_row, p.v_row);
  for (int plane = 1; plane < 3; ++plane) {
    const uint8_t *near = s.near[plane], *far = s.far[plane];
    if (p.pixel_stride[plane] != 1) {
      gather(near, p.pixel_stride[plane], n, c[0]);
      gather(far, p.pixel_stride[plane], n, c[1]);
      near = c[0], far = c[1];
    }
    between_rows(near, far, n, plane == 1 ? p.u_row : p.v_row);
  }
}

// That row -> the n pixels p.bgr.
void colours(const RowPlan& p, const Matrix& matrix) {
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
  int16_t* const to[3] = {hq, hq + padded(p.out_width), hq + 2 * padded(p.out_width)};
  if (p.is_bgr && p.turns == 3) {
    split3(s.near[0], p.width, p.bgr[0], p.bgr[1], p.bgr[2]);
  } else if (p.is_bgr) {
    for (int c = 0; c < 3; ++c) gather(s.near[c], p.pixel_stride[c], p.width, p.bgr[c]);
  } else {
    const Matrix matrix(p.colour);
    read_row(p, s);
    if (p.halves) return convert_whole(matrix, p.n, p.luma, p.u_row, p.v_row, to[0], to[1], to[2]);
    colours(p, matrix);
  }
  for (int c = 0; c < p.planes; ++c) {
    if (p.copies)
      times128(p.bgr[c], p.out_width, to[c]);
    else
      resize(p, p.bgr[c], to[c]);
  }
}

void output_row(const RowPlan& p, const int16_t* __restrict hq0, const int16_t* __restrict hq1, int32_t weight,
                uint8_t* __restrict out) {
  const int n = p.out_width;
  const int64_t stride = p.planes == 1 ? 0 : padded(n);
  // All of it 16 bits wide: the result is (a + 64 + floor(w (b - a) / 2048)) >> 7, where a is the row that weighs more,
  // and that floor is the high half of (a - b) times -32 w, which fits int16 for w <= 1024.
  const bool second = weight > 1024;
  const int16_t *const most = second ? hq1 : hq0, *const rest = second ? hq0 : hq1;
  const Vec slope = all16(-32 * (second ? 2048 - weight : weight)), half = all16(64);
  const auto blend = [&](int64_t i) {
    const Vec a = load(most + i), b = load(rest + i);
    return shr16<7>(add16(add16(a, half), mulhi16(sub16(a, b), slope)));
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

void widen(const uint8_t* __restrict levels, int64_t n, uint16_t* __restrict out) {
  for (int64_t i = 0; i < n; ++i) out[i] = bfloat16_bits(levels[i]);
}

}  // namespace

extern const FramePrepRows frame_prep_rows{source_row, output_row, widen};

}  // namespace AEDMAE_ISA
}  // namespace aedmae
