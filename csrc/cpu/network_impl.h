// The network's kernels for one instruction set and one dtype, as a row of the table in isa.cpp.
#pragma once

#include "attention_gradient_impl.h"
#include "attention_impl.h"
#include "discrepancy_map_impl.h"
#include "dwconv_qkv_impl.h"
#include "linear_impl.h"
#include "mlp_impl.h"
#include "patch_embed_impl.h"

namespace aedmae {
namespace AEDMAE_ISA {
namespace {

template <class Operand>
constexpr Packing packing_of{kPanel, kWidth, kPerStep<Operand>, kStepsAtOnce};

// A kernel with the tiles that it needs set up for as long as it runs.
template <class Args, void (*kernel)(const Args&, Scratch&)>
void in_tiles(const Args& args, Scratch& scratch) {
  const Tiles tiles;
  kernel(args, scratch);
}

template <class T, class Operand = typename OperandOf<T>::type>
constexpr NetworkKernels network_of{packing_of<Operand>,
                                    in_tiles<Attention, attention<T>>,
                                    in_tiles<AttentionGradient, attention_gradient<T>>,
                                    in_tiles<DiscrepancyMap, discrepancy_map<T>>,
                                    in_tiles<DwconvQkv, dwconv_qkv<T, Operand>>,
                                    in_tiles<Linear, linear<T, Operand>>,
                                    in_tiles<Mlp, mlp<T, Operand>>,
                                    in_tiles<PatchEmbed, patch_embed<T, Operand>>};

template <class T>
constexpr Int8Kernels int8_of{packing_of<Level>, in_tiles<DwconvQkv, dwconv_qkv<T, Level>>,
                              in_tiles<Linear, linear<T, Level>>, in_tiles<Mlp, mlp<T, Level>>,
                              in_tiles<PatchEmbed, patch_embed<T, Level>>};

}  // namespace
}  // namespace AEDMAE_ISA
}  // namespace aedmae
