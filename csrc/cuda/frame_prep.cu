// One thread an output pixel: it converts the (up to) four source pixels that it reads. Neighbours read the same ones,
// but from cache, and nothing but the decoded planes and the result touches memory.
#include "frame_prep.h"
#include "launch.h"

namespace aedmae {
namespace {

struct Bgr {
  int32_t b, g, r;
};

__device__ Bgr mix(Bgr p, Bgr q, int32_t weight, int32_t round, int32_t shift) {
  const int32_t rest = 2048 - weight;
  return {(rest * p.b + weight * q.b + round) >> shift, (rest * p.g + weight * q.g + round) >> shift,
          (rest * p.r + weight * q.r + round) >> shift};
}

// Chroma at luma position (y, x), 16 times its scale, less 2048.
__device__ int32_t chroma(const FramePrep& a, int32_t plane, int64_t t, int32_t y, int32_t x) {
  const int32_t height = (a.height + a.sub_y - 1) / a.sub_y, width = (a.width + a.sub_x - 1) / a.sub_x;
  const uint8_t* frame = a.plane[plane] + t * a.frame_stride[plane];
  const uint8_t* near = frame + chroma_near(y, a.sub_y) * a.row_stride[plane];
  const uint8_t* far = frame + chroma_far(y, a.sub_y, height) * a.row_stride[plane];
  const int64_t k = chroma_near(x, a.sub_x) * a.pixel_stride[plane];
  const int64_t l = chroma_far(x, a.sub_x, width) * a.pixel_stride[plane];
  return 3 * (3 * near[k] + far[k]) + 3 * near[l] + far[l] - 2048;
}

// The source pixel at (y, x), 0..255 each.
__device__ Bgr pixel(const FramePrep& a, const Colour& c, int64_t t, int32_t y, int32_t x) {
  const auto sample = [&](int32_t plane) -> int32_t {
    return a.plane[plane][t * a.frame_stride[plane] + y * a.row_stride[plane] + x * a.pixel_stride[plane]];
  };
  if (a.is_bgr) return {sample(0), sample(1), sample(2)};
  const int32_t luma = c.y * 16 * (sample(0) - c.y_offset) + (1 << 16);
  const int32_t u = a.planes == 3 ? chroma(a, 1, t, y, x) : 0, v = a.planes == 3 ? chroma(a, 2, t, y, x) : 0;
  return {clip8((luma + c.bu * u) >> 17), clip8((luma + c.gu * u + c.gv * v) >> 17), clip8((luma + c.rv * v) >> 17)};
}

__global__ void __launch_bounds__(256) frame_prep_kernel(const FramePrep a, const Colour c) {
  const int32_t x = static_cast<int32_t>(blockIdx.x * blockDim.x + threadIdx.x);
  const int32_t y = static_cast<int32_t>(blockIdx.y * blockDim.y + threadIdx.y);
  if (x >= a.out_width || y >= a.out_height) return;
  const Tap h = make_tap(x, a.width, a.out_width), v = make_tap(y, a.height, a.out_height);
  const int32_t right = h.index + (h.weight != 0), below = v.index + (v.weight != 0);
  for (int64_t t = blockIdx.z; t < a.frames; t += gridDim.z) {
    const Bgr top = mix(pixel(a, c, t, v.index, h.index), pixel(a, c, t, v.index, right), h.weight, 8, 4);
    const Bgr bottom = mix(pixel(a, c, t, below, h.index), pixel(a, c, t, below, right), h.weight, 8, 4);
    const Bgr result = mix(top, bottom, v.weight, 1 << 17, 18);
    uint8_t* out = a.out + ((t * a.out_height + y) * a.out_width + x) * 3;
    out[0] = static_cast<uint8_t>(result.b);
    out[1] = static_cast<uint8_t>(result.g);
    out[2] = static_cast<uint8_t>(result.r);
  }
}

}  // namespace

void frame_prep_cuda(const FramePrep& a, uintptr_t stream) {
  if (a.frames == 0) return;  // a grid may not be empty
  const dim3 block(32, 8);
  const dim3 grid((a.out_width + block.x - 1) / block.x, (a.out_height + block.y - 1) / block.y,
                  a.frames < 65535 ? a.frames : 65535);
  launch("frame_prep", frame_prep_kernel, grid, block, 0, reinterpret_cast<cudaStream_t>(stream), a,
         make_colour(a.kr, a.kb, a.full_range));
}

}  // namespace aedmae
