// One thread an output pixel, in several frames one after another: what depends on the position alone (a hundred
// instructions, divisions among them) is done once. It reads the four source pixels around the position and the up to
// nine samples of each chroma plane around those. Neighbours read the same ones, but from cache, and nothing but the
// decoded planes and the result touches memory.
#include "frame_prep.h"

#include <stdexcept>

#include "launch.h"

namespace aedmae {
namespace {

enum class Source { yuv, grey, bgr };

constexpr uint32_t kFramesPerThread = 8;

struct Bgr {
  int32_t b, g, r;
};

__device__ Bgr mix(Bgr p, Bgr q, int32_t weight, int32_t round, int32_t shift) {
  const int32_t rest = 2048 - weight;
  return {(rest * p.b + weight * q.b + round) >> shift, (rest * p.g + weight * q.g + round) >> shift,
          (rest * p.r + weight * q.r + round) >> shift};
}

// In one direction: the source positions p and p + 1 that an output position lies between.
struct Between {
  uint32_t at[2];  // clamped to the edge, where its weight is 0
  int32_t weight;  // of the second, of 2048
};

__device__ Between between(int32_t i, int32_t from, int32_t to) {
  const Tap tap = make_tap(i, from, to);
  const uint32_t p = tap.index;
  return {{p, p + (tap.weight != 0)}, tap.weight};
}

// In one direction: the chroma samples that p and p + 1 are made of, and their parts of 4.
struct ChromaTaps {
  uint32_t at[3];
  int32_t first[2], second[3];
};

__device__ ChromaTaps chroma_taps(int32_t p, int32_t sub, int32_t size) {
  const int32_t start = sub == 2 ? (p - 1) >> 1 : p;
  const auto clamped = [size](int32_t k) -> uint32_t { return k < 0 ? 0 : k < size ? k : size - 1; };
  const uint32_t k0 = clamped(start), k1 = clamped(start + 1), k2 = clamped(start + 2);
  if (sub == 1) return {{k0, k1, k2}, {4, 0}, {0, 4, 0}};
  if (p % 2 == 0) return {{k0, k1, k2}, {1, 3}, {0, 3, 1}};
  return {{k0, k1, k2}, {3, 1}, {1, 3, 0}};
}

// Where a plane's samples lie within a frame; every frame spans less than 4 GiB.
struct Grid {
  uint32_t row, pixel;  // strides
  __device__ Grid(const FramePrep& a, int plane)
      : row(static_cast<uint32_t>(a.row_stride[plane])), pixel(static_cast<uint32_t>(a.pixel_stride[plane])) {}
  __device__ uint32_t operator()(uint32_t y, uint32_t x) const { return y * row + x * pixel; }
};

// Chroma at the four pixels, 16 times its scale, less 2048.
__device__ void chroma(const uint8_t* frame, const Grid& grid, const ChromaTaps& v, const ChromaTaps& h,
                       int32_t (&out)[2][2]) {
  int32_t rows[2][3];
#pragma unroll
  for (int k = 0; k < 3; ++k) {
    const int32_t s0 = frame[grid(v.at[0], h.at[k])], s1 = frame[grid(v.at[1], h.at[k])];
    const int32_t s2 = frame[grid(v.at[2], h.at[k])];
    rows[0][k] = v.first[0] * s0 + v.first[1] * s1;
    rows[1][k] = v.second[0] * s0 + v.second[1] * s1 + v.second[2] * s2;
  }
#pragma unroll
  for (int j = 0; j < 2; ++j) {
    out[j][0] = h.first[0] * rows[j][0] + h.first[1] * rows[j][1] - 2048;
    out[j][1] = h.second[0] * rows[j][0] + h.second[1] * rows[j][1] + h.second[2] * rows[j][2] - 2048;
  }
}

__device__ void put(uint8_t* out, int32_t level) { *out = static_cast<uint8_t>(level); }
__device__ void put(uint16_t* out, int32_t level) { *out = bfloat16_bits(level); }

template <Source source, class Level>
__global__ void __launch_bounds__(256) frame_prep_kernel(const FramePrep a, const Colour c) {
  const int32_t x = static_cast<int32_t>(blockIdx.x * blockDim.x + threadIdx.x);
  const int32_t y = static_cast<int32_t>(blockIdx.y * blockDim.y + threadIdx.y);
  if (x >= a.out_width || y >= a.out_height) return;
  const Between h = between(x, a.width, a.out_width), v = between(y, a.height, a.out_height);
  const ChromaTaps chroma_h = chroma_taps(h.at[0], a.sub_x, (a.width + a.sub_x - 1) / a.sub_x);
  const ChromaTaps chroma_v = chroma_taps(v.at[0], a.sub_y, (a.height + a.sub_y - 1) / a.sub_y);
  const Grid grid[3] = {Grid(a, 0), Grid(a, 1), Grid(a, 2)};

  for (int64_t t = blockIdx.z; t < a.frames; t += gridDim.z) {
    const auto frame = [&](int plane) { return a.plane[plane] + t * a.frame_stride[plane]; };
    int32_t u_at[2][2] = {}, v_at[2][2] = {};
    if (source == Source::yuv) {
      chroma(frame(1), grid[1], chroma_v, chroma_h, u_at);
      chroma(frame(2), grid[2], chroma_v, chroma_h, v_at);
    }
    const auto pixel = [&](int j, int i) -> Bgr {  // 0..255 each
      const auto sample = [&](int plane) -> int32_t { return frame(plane)[grid[plane](v.at[j], h.at[i])]; };
      if (source == Source::bgr) return {sample(0), sample(1), sample(2)};
      const int32_t luma = c.y * 16 * (sample(0) - c.y_offset) + (1 << 16), u = u_at[j][i], v = v_at[j][i];
      return {clip8((luma + c.bu * u) >> 17), clip8((luma + c.gu * u + c.gv * v) >> 17),
              clip8((luma + c.rv * v) >> 17)};
    };
    const Bgr top = mix(pixel(0, 0), pixel(0, 1), h.weight, 8, 4);
    const Bgr bottom = mix(pixel(1, 0), pixel(1, 1), h.weight, 8, 4);
    const Bgr result = mix(top, bottom, v.weight, 1 << 17, 18);
    Level* const out = static_cast<Level*>(a.out) + ((t * a.out_height + y) * a.out_width + x) * 3;
    put(out, result.b);
    put(out + 1, result.g);
    put(out + 2, result.r);
  }
}

using Kernel = void (*)(FramePrep, Colour);

template <class Level>
Kernel kernel_for(const FramePrep& a) {
  return a.is_bgr        ? frame_prep_kernel<Source::bgr, Level>
         : a.planes == 3 ? frame_prep_kernel<Source::yuv, Level>
                         : frame_prep_kernel<Source::grey, Level>;
}

}  // namespace

void frame_prep_cuda(const FramePrep& a, uintptr_t stream) {
  if (a.frames == 0) return;  // a grid may not be empty
  for (int plane = 0; plane < a.planes; ++plane)
    if ((a.height - 1) * a.row_stride[plane] + (a.width - 1) * a.pixel_stride[plane] > UINT32_MAX)
      throw std::invalid_argument("planes: expected frames that span less than 4 GiB");
  const dim3 block(32, 8);
  const uint32_t slices = (a.frames + kFramesPerThread - 1) / kFramesPerThread;
  const dim3 grid((a.out_width + block.x - 1) / block.x, (a.out_height + block.y - 1) / block.y,
                  slices < kMostBlocks ? slices : kMostBlocks);
  const Kernel kernel = a.bfloat16 ? kernel_for<uint16_t>(a) : kernel_for<uint8_t>(a);
  launch("frame_prep", kernel, grid, block, 0, reinterpret_cast<cudaStream_t>(stream), a,
         make_colour(a.kr, a.kb, a.full_range));
}

}  // namespace aedmae
