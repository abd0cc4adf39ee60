#include "frame_prep.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <memory>
#include <tuple>
#include <utility>
#include <vector>

#include "isa.h"

namespace aedmae {
namespace {

// Memory for one geometry's tables and scratch rows, zeroed, so that padding never holds garbage.
class Arena {
 public:
  template <class T>
  T* take(int64_t count) {
    return reinterpret_cast<T*>(blocks_.emplace_back(count * sizeof(T)).data());
  }

 private:
  std::vector<std::vector<uint8_t>> blocks_;
};

// Two int16 in one int32, the first in front.
int32_t weights(int32_t first, int32_t second) { return first | second << 16; }

// The table of n results from a row of bytes or of int16 (`element`): entry(i) gives the index and the weights.
template <class Entry>
Resample make_resample(Arena& arena, int32_t n, int32_t element, Entry entry) {
  auto* index = arena.take<int32_t>(padded(n));
  auto* weight = arena.take<int32_t>(padded(n));
  auto* shuffle = arena.take<int32_t>(padded(n));
  bool near = true;
  for (int32_t i = 0; i < n; ++i) {
    std::tie(index[i], weight[i]) = entry(i);
    const int32_t byte = (index[i] - index[i / 4 * 4]) * element;
    near = near && byte + 2 * element <= 16;
    // Two bytes become two int16 in the same step: a position with its top bit set gives 0.
    const uint32_t positions = element == 1 ? byte * 0x00010001u + 0x80018000u : byte * 0x01010101u + 0x03020100u;
    shuffle[i] = static_cast<int32_t>(positions);
  }
  return {index, weight, shuffle, near};
}

// The same for the last step, from its table.
Blend make_blend(Arena& arena, int32_t n, const Resample& taps) {
  auto* word = arena.take<int16_t>(padded(n));
  auto* slope = arena.take<int16_t>(padded(n));
  bool fits = true;
  for (int32_t i = 0; i < n; ++i) {
    const int32_t byte = taps.index[i] - taps.index[i / 32 * 32];
    fits = fits && byte < 64;
    word[i] = static_cast<int16_t>(byte / 2 + byte % 2 * 32);
    slope[i] = static_cast<int16_t>(-16 * (taps.weights[i] >> 16));
  }
  return {taps.index, word, slope, fits};
}

// The column of the i-th pixel that is converted.
int32_t column(const FramePrep& a, const RowPlan& p, int32_t i) {
  if (!p.sparse) return i;
  const int32_t taps = p.n / a.out_width;
  return std::min(make_tap(i / taps, a.width, a.out_width).index + i % taps, a.width - 1);
}

std::pair<int32_t, int32_t> chroma_entry(int32_t x, int32_t sub, int32_t width) {
  const int32_t near = chroma_near(x, sub), far = chroma_far(x, sub, (width + sub - 1) / sub);
  if (near == far) return {near, weights(4, 0)};
  return near < far ? std::pair(near, weights(3, 1)) : std::pair(far, weights(1, 3));
}

int32_t turns(const FramePrep& a) {
  const auto together = [&](int i, int j, int64_t pixel_stride) {
    return a.plane[j] - a.plane[i] == j - i && a.pixel_stride[i] == pixel_stride && a.pixel_stride[j] == pixel_stride &&
           a.row_stride[i] == a.row_stride[j] && a.frame_stride[i] == a.frame_stride[j];
  };
  if (a.planes == 1) return 1;
  if (a.sub_y == 1 && a.sub_x == 1 && together(0, 1, 3) && together(0, 2, 3)) return 3;
  return together(1, 2, 2) ? 2 : 1;
}

RowPlan make_plan(Arena& arena, const FramePrep& a) {
  RowPlan p{};
  p.width = a.width, p.out_width = a.out_width;
  p.planes = a.planes, p.is_bgr = a.is_bgr, p.sub_x = a.sub_x;
  std::copy(std::begin(a.pixel_stride), std::end(a.pixel_stride), p.pixel_stride);
  p.turns = turns(a);
  p.colour = make_colour(a.kr, a.kb, a.full_range);
  if (a.planes == 1) p.colour.rv = p.colour.gu = p.colour.gv = p.colour.bu = 0;

  const bool yuv = !a.is_bgr;  // what is BGR already is never sparse: there is nothing to save
  p.copies = a.width == a.out_width || (yuv && a.width % (2 * a.out_width) == a.out_width);  // W = w, 3w, 5w, ...
  const int32_t read = p.copies ? a.out_width : 2 * a.out_width;
  p.sparse = yuv && read < a.width;
  p.n = p.sparse ? read : a.width;
  p.halves = yuv && a.sub_x == 2 && a.width == 2 * a.out_width;
  if (p.sparse) {
    p.luma_taps = make_resample(arena, p.n, 1, [&](int32_t i) { return std::pair(column(a, p, i), weights(16, 0)); });
    p.chroma_taps =
        make_resample(arena, p.n, 2, [&](int32_t i) { return chroma_entry(column(a, p, i), a.sub_x, a.width); });
  }
  if (!p.copies) {
    p.out_taps = make_resample(arena, a.out_width, 1, [&](int32_t i) {
      const Tap tap = make_tap(i, a.width, a.out_width);
      return std::pair(p.sparse ? 2 * i : tap.index, weights(2048 - tap.weight, tap.weight));
    });
    p.out_blend = make_blend(arena, a.out_width, p.out_taps);
  }

  const int64_t row = padded(a.width) + kSlack;
  p.luma = arena.take<uint8_t>(row);
  for (uint8_t*& r : p.chroma) r = arena.take<uint8_t>(row);
  p.u_row = arena.take<int16_t>(row + 1) + 1;
  p.v_row = arena.take<int16_t>(row + 1) + 1;
  for (int16_t** r : {&p.y, &p.u, &p.v}) *r = arena.take<int16_t>(row);
  for (uint8_t*& r : p.bgr) r = arena.take<uint8_t>(row);
  for (int16_t*& r : p.hq) r = arena.take<int16_t>(3 * padded(a.out_width));
  p.levels = arena.take<uint8_t>(3 * padded(a.out_width));
  return p;
}

// All that a plan depends on.
using Geometry = std::array<int64_t, 13>;

Geometry geometry_of(const FramePrep& a) {
  const int64_t* const pixel = a.pixel_stride;
  return {a.width, a.out_width,  a.planes, a.is_bgr, a.sub_y,  a.sub_x, a.kr,
          a.kb,    a.full_range, pixel[0], pixel[1], pixel[2], turns(a)};
}

// The calling thread's plan: of a small frame, making it anew would take a twentieth of the time.
const RowPlan& plan_for(const FramePrep& a) {
  struct Kept {
    Geometry geometry;
    Arena arena;
    RowPlan plan;
  };
  thread_local std::unique_ptr<const Kept> kept;
  const Geometry geometry = geometry_of(a);
  if (!kept || kept->geometry != geometry) {
    Arena arena;
    const RowPlan plan = make_plan(arena, a);
    kept.reset(new Kept{geometry, std::move(arena), plan});
  }
  return kept->plan;
}

SourceRow source_row(const FramePrep& a, int64_t t, int32_t y) {
  const auto row = [&](int plane, int64_t i) {
    return a.plane[plane] + t * a.frame_stride[plane] + i * a.row_stride[plane];
  };
  if (a.planes == 1) return {{row(0, y)}, {row(0, y)}};
  const int32_t near = chroma_near(y, a.sub_y), far = chroma_far(y, a.sub_y, (a.height + a.sub_y - 1) / a.sub_y);
  return {{row(0, y), row(1, near), row(2, near)}, {row(0, y), row(1, far), row(2, far)}};
}

}  // namespace

void frame_prep_cpu(const FramePrep& a) {
  const FramePrepRows& rows = kernels().frame_prep;
  const RowPlan& plan = plan_for(a);
  int16_t* const* const slot = plan.hq;
  const int64_t row_size = int64_t{a.out_width} * 3;

  for (int64_t t = 0; t < a.frames; ++t) {
    // An output row lies between source rows y and y + 1: one is in each slot, and stays for the next output row.
    int32_t held[2] = {-1, -1};
    const auto converted = [&](int32_t y) {
      if (held[y % 2] != y) rows.source_row(plan, source_row(a, t, y), slot[y % 2]);
      held[y % 2] = y;
      return slot[y % 2];
    };
    for (int32_t y = 0; y < a.out_height; ++y) {
      const Tap tap = make_tap(y, a.height, a.out_height);
      const int16_t* top = converted(tap.index);
      const int16_t* bottom = tap.weight ? converted(tap.index + 1) : top;
      const int64_t start = (t * a.out_height + y) * row_size;
      if (a.bfloat16) {
        rows.output_row(plan, top, bottom, tap.weight, plan.levels);
        rows.widen(plan.levels, row_size, static_cast<uint16_t*>(a.out) + start);
      } else {
        rows.output_row(plan, top, bottom, tap.weight, static_cast<uint8_t*>(a.out) + start);
      }
    }
  }
}

}  // namespace aedmae
