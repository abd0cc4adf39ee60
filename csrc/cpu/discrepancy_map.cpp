#include "discrepancy_map.h"

#include <cstring>
#include <memory>
#include <new>
#include <vector>

#include "isa.h"

namespace aedmae {
namespace {

float to_float(const uint16_t* bfloat16) {
  const uint32_t bits = static_cast<uint32_t>(*bfloat16) << 16;
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

std::vector<float> to_floats(const void* bfloat16, int64_t count) {
  const auto* from = static_cast<const uint16_t*>(bfloat16);
  std::vector<float> out(count);
  for (int64_t i = 0; i < count; ++i) out[i] = to_float(from + i);
  return out;
}

// [batch, tokens, channels], contiguous.
std::vector<float> to_floats(const DiscrepancyMap& a, const HiddenStates& s) {
  const int64_t tokens = int64_t{a.height / a.patch} * (a.width / a.patch);
  std::vector<float> out(a.batch * tokens * a.channels);
  float* to = out.data();
  for (int64_t frame = 0; frame < a.batch; ++frame)
    for (int64_t token = 0; token < tokens; ++token) {
      const auto* from = static_cast<const uint16_t*>(s.data) + frame * s.frame_stride + token * s.token_stride;
      for (int32_t c = 0; c < a.channels; ++c) *to++ = to_float(from + c);
    }
  return out;
}

struct Aligned {
  static constexpr std::align_val_t kLine{64};
  void operator()(float* p) const { ::operator delete[](p, kLine); }
};

}  // namespace

void discrepancy_map_cpu(const DiscrepancyMap& a) {
  const DiscrepancyKernels& k = kernels().discrepancy;
  const int64_t values = 4 * int64_t{a.patch} * a.patch, tokens = int64_t{a.height / a.patch} * (a.width / a.patch);
  const bool pairs = a.bfloat16 && k.bfloat16 && a.channels % 2 == 0;  // bfloat16 as it is; otherwise as float32
  const bool convert = a.bfloat16 && !pairs;
  std::vector<float> states[2], weight[2], bias[2];
  DiscrepancyTask t{};
  t.words = pairs ? a.channels / 2 : a.channels;
  const int64_t size = pairs ? 2 : 4;
  for (int i = 0; i < 2; ++i) {
    t.states[i] = static_cast<const char*>(a.states[i].data);
    t.frame_stride[i] = a.states[i].frame_stride * size;
    t.token_stride[i] = a.states[i].token_stride * size;
    t.weight[i] = static_cast<const char*>(a.head[i].weight);
    t.bias[i] = static_cast<const float*>(a.head[i].bias);
    if (a.bfloat16) {
      bias[i] = to_floats(a.head[i].bias, values);
      t.bias[i] = bias[i].data();
    }
    if (convert) {
      states[i] = to_floats(a, a.states[i]);
      t.states[i] = reinterpret_cast<const char*>(states[i].data());
      t.frame_stride[i] = tokens * a.channels * size;
      t.token_stride[i] = a.channels * size;
      weight[i] = to_floats(a.head[i].weight, values * a.channels);
      t.weight[i] = reinterpret_cast<const char*>(weight[i].data());
    }
  }
  const int64_t panel = 8 * int64_t{k.lanes} * t.words;
  const std::unique_ptr<float[], Aligned> packed(new (Aligned::kLine) float[panel]);
  std::vector<double> sums(3 * int64_t{a.batch} * k.lanes);
  t.panel = packed.get(), t.sums = sums.data();
  (pairs ? k.bfloat16 : k.float32)(a, t);
}

}  // namespace aedmae
