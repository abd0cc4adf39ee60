#include "network_bindings.h"

#include <pybind11/stl.h>

#include <array>

#include "isa.h"

namespace py = pybind11;

namespace aedmae {
namespace {

using Address = uintptr_t;  // of Tensor.data_ptr()
using Strides = std::array<int64_t, 3>;

const void* from(Address address) { return reinterpret_cast<const void*>(address); }
void* to(Address address) { return reinterpret_cast<void*>(address); }

template <class Args>
void run(bool bf16, void (*NetworkKernels::*kernel)(const Args&, Scratch&), const Args& args) {
  const Kernels& table = kernels();
  py::gil_scoped_release no_gil;
  Scratch scratch;
  ((bf16 ? table.network_bf16 : table.network_f32).*kernel)(args, scratch);
}

void bind_attention(bool bf16, std::array<Address, 3> qkv, std::array<Strides, 3> strides, Address out,
                    std::array<int64_t, 4> shape, float scale) {  // strides of B, heads, N; shape B, heads, N, D
  Attention args{from(qkv[0]), from(qkv[1]), from(qkv[2]), {},       {},       {},
                 to(out),      shape[0],     shape[1],     shape[2], shape[3], scale};
  for (int i = 0; i < 3; ++i) {
    args.q_stride[i] = strides[0][i];
    args.k_stride[i] = strides[1][i];
    args.v_stride[i] = strides[2][i];
  }
  run(bf16, &NetworkKernels::attention, args);
}

void bind_dwconv_qkv(bool bf16, Address x, Address norm_weight, Address norm_bias, Address conv_weight,
                     Address conv_bias, Address proj_weight, Address proj_bias, Address out,
                     std::array<int64_t, 4> shape) {  // B, height, width, C
  run(bf16, &NetworkKernels::dwconv_qkv,
      DwconvQkv{from(x), from(norm_weight), from(norm_bias), from(conv_weight), from(conv_bias), from(proj_weight),
                from(proj_bias), to(out), shape[0], shape[1], shape[2], shape[3]});
}

void bind_linear(bool bf16, Address x, Address weight, Address bias, Address residual, Address out,
                 std::array<int64_t, 3> shape) {  // residual 0: none; shape rows, K, N
  run(bf16, &NetworkKernels::linear,
      Linear{from(x), from(weight), from(bias), from(residual), to(out), shape[0], shape[1], shape[2]});
}

void bind_mlp(bool bf16, Address x, Address norm_weight, Address norm_bias, Address up_weight, Address up_bias,
              Address down_weight, Address down_bias, Address out, std::array<int64_t, 4> shape) {  // B, N, C, R
  run(bf16, &NetworkKernels::mlp,
      Mlp{from(x), from(norm_weight), from(norm_bias), from(up_weight), from(up_bias), from(down_weight),
          from(down_bias), to(out), shape[0], shape[1], shape[2], shape[3]});
}

void bind_patch_embed(bool bf16, Address frames, Address windows, Address ids_keep, Address weight, Address bias,
                      Address norm_weight, Address norm_bias, Address out,
                      std::array<int64_t, 6> shape) {  // B, height, width, V, C, patch
  run(bf16, &NetworkKernels::patch_embed,
      PatchEmbed{static_cast<const uint8_t*>(from(frames)), static_cast<const int64_t*>(from(windows)),
                 static_cast<const int64_t*>(from(ids_keep)), from(weight), from(bias), from(norm_weight),
                 from(norm_bias), to(out), shape[0], shape[1], shape[2], shape[3], shape[4], shape[5]});
}

}  // namespace

void bind_network(py::module_& m) {
  m.def("attention", &bind_attention);
  m.def("dwconv_qkv", &bind_dwconv_qkv);
  m.def("linear", &bind_linear);
  m.def("mlp", &bind_mlp);
  m.def("patch_embed", &bind_patch_embed);
}

}  // namespace aedmae
