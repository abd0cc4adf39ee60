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

// One geometry's plan and scratch memory, shared by all its rows. A row of W pixels is converted to BGR whole, or,
// `sparse`, only the n = w or 2w pixels of it that the result reads.
struct RowPlan {
  int32_t width, out_width;  // W, w
  int32_t planes, channels;  // of the source: 3 and 1 for YUV, 1 and 1 for grey, 1 and 3 for BGR
  int32_t sub_x;             // chroma sub-sampling
  Colour colour;
  bool sparse;
  bool copies;                      // every horizontal weight is 0: results are copies of single pixels
  int32_t n;                        // pixels converted to BGR
  Resample luma_taps, chroma_taps;  // sparse: source row -> those n pixels
  Resample out_taps;                // unless `copies`: those n pixels -> the w pixels of the result
  uint8_t* luma;                    // scratch, [padded(W) + kSlack] each: the source row
  int16_t *u_row, *v_row;           // its chroma, 4 times its scale; [-1] and [size] repeat the edges
  int16_t *y, *u, *v;               // the n pixels, 16 times their scale
  uint8_t* bgr[3];                  // the n pixels' colours
};

// One source row: luma or BGR, and the two rows of U and of V that it lies between.
struct SourceRow {
  const uint8_t* luma;
  const uint8_t *u_near, *u_far, *v_near, *v_far;
};

struct FramePrepRows {
  // Converts a source row and resamples it: hq [3 or (grey) 1][padded(w)], 128 times the colour.
  void (*source_row)(const RowPlan&, const SourceRow&, int16_t* hq);
  // Interpolates between two such rows: out [w, 3] = ((2048 - weight) * hq0 + weight * hq1 + 2^17) >> 18.
  void (*output_row)(const RowPlan&, const int16_t* hq0, const int16_t* hq1, int32_t weight, uint8_t* out);
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
