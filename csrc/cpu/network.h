// The network's operations on the CPU: one call each, one thread, in float32 or bfloat16 (aedmae_fast/ops has the
// formulas). Accumulators are float32 in both.
//
// Tensors are [B, ...] contiguous unless strides are given; strides count elements. Scales are those of weights in int8
// (aedmae_fast/ops/quantize.py), or else null. Weights are as their shapes say, or all of a call are packed
// (aedmae_fast/ops/packing.py) for the kernels of the table that they are given to.
#pragma once

#include <cstdint>

#include "scratch.h"

namespace aedmae {

struct Bf16 {
  uint16_t bits;
};

struct Attention {
  const void *q, *k, *v;                          // [B, heads, N, D], contiguous in D
  int64_t q_stride[3], k_stride[3], v_stride[3];  // of B, heads, N
  void* out;                                      // [B, N, heads * D]
  int64_t batch, heads, n, d;
  float scale;
};

struct AttentionGradient {
  Attention attention;   // its `out` is read
  const void* grad;      // of out, [B, N, heads * D]
  void *dq, *dk, *dv;    // [B, N, heads * D]
};

struct DwconvQkv {
  const void* x;                        // [B, 1 + height * width, C]
  const void *norm_weight, *norm_bias;  // [C]
  const void *conv_weight, *conv_bias;  // [3, 3, 3, C]: q, k, v; row; column. [3, C]
  const void *proj_weight, *proj_bias;  // [3, C, C]: q, k, v; out; in. [3, C]
  const float* proj_scale;              // [3, C]
  bool packed;
  void* out;                            // [3, B, 1 + height * width, C]
  int64_t batch, height, width, c;
};

struct Linear {
  const void* x;              // [rows, K]
  const void *weight, *bias;  // [N, K], [N]
  const float* scale;         // [N]
  bool packed;
  const void* residual;       // [rows, N], or null
  void* out;                  // [rows, N]
  int64_t rows, k, n;
};

struct Mlp {
  const void* x;                        // [B, N, C]
  const void *norm_weight, *norm_bias;  // [C]
  const void *up_weight, *up_bias;      // [R, C], [R]
  const void *down_weight, *down_bias;  // [C, R], [C]
  const float *up_scale, *down_scale;   // [R], [C]
  bool packed;
  void* out;                            // [B, N, C]
  int64_t batch, n, c, r;
};

struct HiddenStates {
  const void* data;                    // [B, tokens, C], contiguous in C
  int64_t frame_stride, token_stride;
};

struct Head {
  const void* weight;  // [4 * patch * patch, C]
  const void* bias;    // [4 * patch * patch]
};

struct DiscrepancyMap {
  HiddenStates states[2];  // teacher, student
  Head head[2];
  const uint8_t* frames;             // [B, height, width, 3], contiguous rows
  int64_t frame_stride, row_stride;  // in bytes
  int64_t batch, height, width, c, patch;
  bool squared;      // or else absolute differences
  float weights[3];  // of colour error, abnormality and gap in the map
  float* map;        // [B, height, width]
  float* means;      // [B, 3]
};

struct PatchEmbed {
  const uint8_t* frames;                // [T, height, width, 3]
  const int64_t *windows, *ids_keep;    // [B, 3], [B, V]
  const void *weight, *bias;            // [C, 3 * patch * patch * 3], [C]
  const float* scale;                   // [C]
  bool packed;
  const void *norm_weight, *norm_bias;  // [C]
  void* out;                            // [B, V, C]
  int64_t batch, height, width, visible, c, patch;
};

// How a weight is packed for a table of kernels.
struct Packing {
  int64_t columns;   // of a panel
  int64_t lanes;     // what the columns of a narrower weight are rounded up to
  int64_t elements;  // of a step, 32 bits of them
  int64_t steps;     // what their number is rounded up to
};

// What is compiled once per instruction set, for one dtype.
struct NetworkKernels {
  Packing packing;
  void (*attention)(const Attention&, Scratch&);
  void (*attention_gradient)(const AttentionGradient&, Scratch&);
  void (*discrepancy_map)(const DiscrepancyMap&, Scratch&);
  void (*dwconv_qkv)(const DwconvQkv&, Scratch&);
  void (*linear)(const Linear&, Scratch&);
  void (*mlp)(const Mlp&, Scratch&);
  void (*patch_embed)(const PatchEmbed&, Scratch&);
};

// Those that take quantized weights, likewise.
struct Int8Kernels {
  Packing packing;
  void (*dwconv_qkv)(const DwconvQkv&, Scratch&);
  void (*linear)(const Linear&, Scratch&);
  void (*mlp)(const Mlp&, Scratch&);
  void (*patch_embed)(const PatchEmbed&, Scratch&);
};

namespace base {
extern const NetworkKernels network_f32, network_bf16;
extern const Int8Kernels int8_f32, int8_bf16;
}
namespace avx2 {
extern const NetworkKernels network_f32, network_bf16;
extern const Int8Kernels int8_f32, int8_bf16;
}
namespace avx512 {
extern const NetworkKernels network_f32, network_bf16;
extern const Int8Kernels int8_f32, int8_bf16;
}
namespace avx512_vnni {
extern const Int8Kernels int8_f32, int8_bf16;  // the rest is as in avx512
}
namespace avx512_bf16 {
extern const NetworkKernels network_bf16;  // for float32 it has nothing that the others have not
extern const Int8Kernels int8_bf16;
}
namespace amx {
extern const NetworkKernels network_bf16;
extern const Int8Kernels int8_f32, int8_bf16;
}

}  // namespace aedmae
