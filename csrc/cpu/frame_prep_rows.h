// What frame_prep does once per row: the part that is compiled once per instruction set.
#pragma once

#include <cstdint>

#include "../common/frame_prep.h"

namespace aedmae {

// Scratch rows and tables are padded, so that kernels work in whole vectors and may read one vector too far.
constexpr int64_t padded(int64_t n) { return (n + 63) / 64 * 64; }
constexpr int64_t kSlack = 64;  // elements, after the padding

// How a row is resampled: element i of the result comes from elements index[i] and index[i] + 1 of the source.
struct Resample {
  const int32_t* index;    // [padded(n)]
  const int32_t* weights;  // [padded(n)] two int16 each
  // Where every four results in a row find their pairs within 16 bytes from the first one's index on, those bytes are
  // loaded at once and shuffled: `near`, and the shuffle, [padded(n)] four byte positions each.
  const int32_t* shuffle;
  bool near;
};

// A faster way for the last step, bytes to 128 times their scale, all of it 16 bits wide: (a0 p + a1 q + 8) >> 4
// is 128 p + ((a1 (q - p) + 8) >> 4), and that shift is what a rounding high product gives for 128 (p - q) and -16 a1.
// To be had where every 32 results in a row find their pairs p, q within 64 bytes from the first one's index on.
struct Blend {
  const int32_t* index;  // [padded(n)] as in Resample
  const int16_t* word;   // [padded(n)] which 16 bits of the 64 bytes at the index, or (+ 32) of the 64 one byte on
  const int16_t* slope;  // [padded(n)] -16 a1
  bool fits;
};

// One geometry's plan and scratch memory, shared by all its rows. A row of W pixels is converted to BGR whole, or,
// `sparse`, only the n = w or 2w pixels of it that the result reads.
struct RowPlan {
  int32_t width, out_width;  // W, w
  int32_t planes;            // of the source: 3, or 1 for grey
  bool is_bgr;               // these are colours already
  int64_t pixel_stride[3];   // of each plane
  int32_t turns;             // planes whose samples take turns in memory: 3 (all), 2 (those of chroma), 1 (none)
  int32_t sub_x;             // chroma sub-sampling
  Colour colour;
  bool sparse;
  bool copies;                      // every horizontal weight is 0: results are copies of single pixels
  bool halves;                      // W = 2w and sub_x = 2: results are means of the two pixels on one chroma sample
  int32_t n;                        // pixels converted to BGR
  Resample luma_taps, chroma_taps;  // sparse: source row -> those n pixels
  Resample out_taps;                // unless `copies`: those n pixels -> the w pixels of the result
  Blend out_blend;                  // the same
  uint8_t* luma;                    // scratch, [padded(W) + kSlack] each: the source row
  uint8_t* chroma[2];               // two rows of chroma, where strided
  int16_t *u_row, *v_row;           // its chroma, 4 times its scale; [-1] and [size] repeat the edges
  int16_t *y, *u, *v;               // the n pixels, 16 times their scale
  uint8_t* bgr[3];                  // the n pixels' colours
  int16_t* hq[2];                   // two source rows, resampled: [3][padded(w)], 128 times the colour
  uint8_t* levels;                  // a row of the result, before it becomes bfloat16: [padded(w), 3]
};

// One source row: of each plane, the row that it lies in or near, and the other row of chroma that it lies between.
struct SourceRow {
  const uint8_t *near[3], *far[3];
};

struct FramePrepRows {
  // Converts a source row and resamples it: hq [planes][padded(w)], 128 times the colour.
  void (*source_row)(const RowPlan&, const SourceRow&, int16_t* hq);
  // Interpolates between two such rows: out [w, 3] = ((2048 - weight) * hq0 + weight * hq1 + 2^17) >> 18.
  void (*output_row)(const RowPlan&, const int16_t* hq0, const int16_t* hq1, int32_t weight, uint8_t* out);
  // n levels as bfloat16.
  void (*widen)(const uint8_t* levels, int64_t n, uint16_t* out);
};

namespace base {
extern const FramePrepRows frame_prep_rows;
}
namespace avx2 {
extern const FramePrepRows frame_prep_rows;
}
namespace avx512 {
extern const FramePrepRows frame_prep_rows;
}

}  // namespace aedmae
