#include "network_bindings.h"

#include "../common/bindings.h"
#include "isa.h"

namespace py = pybind11;

namespace aedmae {
namespace {

using Address = uintptr_t;
using Strides = std::array<int64_t, 3>;

const void* from(Address address) { return at<const void>(address); }
void* to(Address address) { return at<void>(address); }
const float* scale(Address address) { return at<const float>(address); }

const NetworkKernels& network(bool bf16) { return bf16 ? kernels().network_bf16 : kernels().network_f32; }
const Int8Kernels& int8(bool bf16) { return bf16 ? kernels().int8_bf16 : kernels().int8_f32; }

template <class Args>
void run(void (*kernel)(const Args&, Scratch&), const Args& args) {
  py::gil_scoped_release no_gil;
  Scratch scratch;
  kernel(args, scratch);
}

Attention attention_of(const std::array<Address, 3>& qkv, const std::array<Strides, 3>& strides, Address out,
                       const std::array<int64_t, 4>& shape,
                       float scale) {  // strides of B, heads, N; shape B, heads, N, D
  Attention args{from(qkv[0]), from(qkv[1]), from(qkv[2]), {},       {},       {},
                 to(out),      shape[0],     shape[1],     shape[2], shape[3], scale};
  for (int i = 0; i < 3; ++i) {
    args.q_stride[i] = strides[0][i];
    args.k_stride[i] = strides[1][i];
    args.v_stride[i] = strides[2][i];
  }
  return args;
}

void bind_attention(bool bf16, std::array<Address, 3> qkv, std::array<Strides, 3> strides, Address out,
                    std::array<int64_t, 4> shape, float scale) {
  run(network(bf16).attention, attention_of(qkv, strides, out, shape, scale));
}

void bind_attention_gradient(bool bf16, std::array<Address, 3> qkv, std::array<Strides, 3> strides, Address out,
                             Address grad, std::array<Address, 3> gradients, std::array<int64_t, 4> shape,
                             float scale) {
  run(network(bf16).attention_gradient,
      AttentionGradient{attention_of(qkv, strides, out, shape, scale), from(grad), to(gradients[0]), to(gradients[1]),
                        to(gradients[2])});
}

void bind_dwconv_qkv(bool bf16, bool packed, Address x, Address norm_weight, Address norm_bias, Address conv_weight,
                     Address conv_bias, Address proj_weight, Address proj_bias, Address proj_scale, Address out,
                     std::array<int64_t, 4> shape) {  // proj_scale 0: none; shape B, height, width, C
  run(proj_scale ? int8(bf16).dwconv_qkv : network(bf16).dwconv_qkv,
      DwconvQkv{from(x), from(norm_weight), from(norm_bias), from(conv_weight), from(conv_bias), from(proj_weight),
                from(proj_bias), scale(proj_scale), packed, to(out), shape[0], shape[1], shape[2], shape[3]});
}

void bind_linear(bool bf16, bool packed, Address x, Address weight, Address bias, Address weight_scale,
                 Address residual, Address out,
                 std::array<int64_t, 3> shape) {  // weight_scale, residual 0: none; shape rows, K, N
  run(weight_scale ? int8(bf16).linear : network(bf16).linear,
      Linear{from(x), from(weight), from(bias), scale(weight_scale), packed, from(residual), to(out), shape[0],
             shape[1], shape[2]});
}

void bind_mlp(bool bf16, bool packed, Address x, Address norm_weight, Address norm_bias, Address up_weight,
              Address up_bias, Address down_weight, Address down_bias, Address up_scale, Address down_scale,
              Address out, std::array<int64_t, 4> shape) {  // scales 0: none; shape B, N, C, R
  run(up_scale ? int8(bf16).mlp : network(bf16).mlp,
      Mlp{from(x), from(norm_weight), from(norm_bias), from(up_weight), from(up_bias), from(down_weight),
          from(down_bias), scale(up_scale), scale(down_scale), packed, to(out), shape[0], shape[1], shape[2],
          shape[3]});
}

void bind_patch_embed(bool bf16, bool packed, Address frames, Address windows, Address ids_keep, Address weight,
                      Address bias, Address weight_scale, Address norm_weight, Address norm_bias, Address out,
                      std::array<int64_t, 6> shape) {  // weight_scale 0: none; shape B, height, width, V, C, patch
  run(weight_scale ? int8(bf16).patch_embed : network(bf16).patch_embed,
      PatchEmbed{at<const uint8_t>(frames), at<const int64_t>(windows), at<const int64_t>(ids_keep), from(weight),
                 from(bias), scale(weight_scale), packed, from(norm_weight), from(norm_bias), to(out), shape[0],
                 shape[1], shape[2], shape[3], shape[4], shape[5]});
}

std::array<int64_t, 4> packing(bool bf16, bool quantized) {  // columns of a panel, lanes, elements of a step, steps
  const Packing p = quantized ? int8(bf16).packing : network(bf16).packing;
  return {p.columns, p.lanes, p.elements, p.steps};
}

}  // namespace

void bind_network(py::module_& m) {
  m.def("attention", &bind_attention);
  m.def("attention_gradient", &bind_attention_gradient);
  m.def("dwconv_qkv", &bind_dwconv_qkv);
  m.def("linear", &bind_linear);
  m.def("mlp", &bind_mlp);
  m.def("packing", &packing);
  m.def("patch_embed", &bind_patch_embed);
}

}  // namespace aedmae
