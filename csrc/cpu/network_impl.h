// The network's kernels for one instruction set and one dtype, as a row of the table in isa.cpp.
#pragma once

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
constexpr Packing packing_of{kPanel, kWidth, kPerStep<Operand>};

template <class T, class Operand = typename OperandOf<T>::type>
constexpr NetworkKernels network_of{packing_of<Operand>,    attention<T>,       discrepancy_map<T>,
                                    dwconv_qkv<T, Operand>, linear<T, Operand>, mlp<T, Operand>,
                                    patch_embed<T, Operand>};

template <class T>
constexpr Int8Kernels int8_of{packing_of<Level>, dwconv_qkv<T, Level>, linear<T, Level>, mlp<T, Level>,
                              patch_embed<T, Level>};

}  // namespace
}  // namespace AEDMAE_ISA
}  // namespace aedmae
