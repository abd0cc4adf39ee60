// The functions of aedmae_fast/cpu.h. Out of memory is std::bad_alloc, which ends a program in C; nothing else is
// thrown, once choose_isa() was called.
#include <exception>

#include "aedmae_fast/cpu.h"
#include "frame_prep.h"
#include "isa.h"
#include "motion_weights.h"
#include "smooth_max.h"

namespace {

aedmae::Frames frames_of(const aedmae_frames& f) {
  return {f.data, f.frame_stride, f.row_stride, f.count, f.height, f.width, f.channels};
}

}  // namespace

extern "C" {

int aedmae_abi() { return AEDMAE_FAST_ABI; }

const char* aedmae_isa() {
  aedmae::choose_isa();
  return aedmae::kernels().isa;
}

int aedmae_set_isa(const char* isa) {
  try {
    aedmae::set_isa(isa);
    return 0;
  } catch (const std::exception&) {  // a null pointer, too
    return -1;
  }
}

void aedmae_frame_prep(const aedmae_planes* args) {
  aedmae::choose_isa();
  const aedmae_planes& p = *args;
  aedmae::FramePrep a{};
  for (int i = 0; i < p.planes; ++i) {
    a.plane[i] = p.plane[i];
    a.frame_stride[i] = p.frame_stride[i], a.row_stride[i] = p.row_stride[i], a.pixel_stride[i] = p.pixel_stride[i];
  }
  a.planes = p.planes, a.is_bgr = p.is_bgr, a.sub_y = p.sub_y, a.sub_x = p.sub_x;
  a.kr = p.kr, a.kb = p.kb, a.full_range = p.full_range;
  a.frames = p.count, a.height = p.height, a.width = p.width;
  a.out = p.out, a.out_height = p.out_height, a.out_width = p.out_width, a.bfloat16 = p.bfloat16;
  aedmae::frame_prep_cpu(a);
}

void aedmae_motion_gradient(const aedmae_frames* frames, int32_t span, uint8_t* out) {
  aedmae::choose_isa();
  aedmae::motion_gradient_cpu(frames_of(*frames), span, out);
}

void aedmae_motion_weights(const aedmae_frames* frames, int32_t span, int32_t patch, float* out) {
  aedmae::choose_isa();
  aedmae::motion_weights_cpu(frames_of(*frames), span, patch, out);
}

void aedmae_patch_weights(const aedmae_frames* gradient, const aedmae_frames* anomaly, int32_t patch,
                          float* out) {
  aedmae::choose_isa();
  aedmae::AnomalyMaps maps{};
  if (anomaly) maps = {anomaly->data, anomaly->frame_stride, anomaly->row_stride};
  aedmae::patch_weights_cpu(frames_of(*gradient), maps, patch, out);
}

void aedmae_discrepancy_map(const aedmae_discrepancy* args) {
  aedmae::choose_isa();
  const aedmae_discrepancy& d = *args;
  aedmae::DiscrepancyMap a{};
  a.states[0] = {d.teacher, d.teacher_stride[0], d.teacher_stride[1]};
  a.states[1] = {d.student, d.student_stride[0], d.student_stride[1]};
  a.head[0] = {d.teacher_weight, d.teacher_bias};
  a.head[1] = {d.student_weight, d.student_bias};
  a.c = d.channels, a.patch = d.patch;
  a.frames = d.frames.data, a.frame_stride = d.frames.frame_stride, a.row_stride = d.frames.row_stride;
  a.batch = d.frames.count, a.height = d.frames.height, a.width = d.frames.width;
  a.squared = d.squared;
  for (int i = 0; i < 3; ++i) a.weights[i] = d.weights[i];
  a.map = d.map, a.means = d.means;
  aedmae::Scratch scratch;
  const aedmae::Kernels& table = aedmae::kernels();
  (d.bfloat16 ? table.network_bf16 : table.network_f32).discrepancy_map(a, scratch);
}

void aedmae_mean_filter(const float* image, int64_t row_stride, int32_t height, int32_t width, int32_t rows,
                        int32_t columns, float* out) {
  aedmae::choose_isa();
  aedmae::mean_filter_cpu({image, row_stride, height, width, rows, columns, out});
}

void aedmae_mean_map(const float* const* maps, int32_t count, int64_t size, float* out) {
  aedmae::choose_isa();
  aedmae::mean_map_cpu({maps, count, size}, out);
}

float aedmae_mean_max(const float* const* maps, int32_t count, int64_t size, int64_t* pixel) {
  aedmae::choose_isa();
  const aedmae::Greatest found = aedmae::mean_max_cpu({maps, count, size});
  if (pixel) *pixel = found.pixel;
  return found.value;
}

}  // extern "C"
