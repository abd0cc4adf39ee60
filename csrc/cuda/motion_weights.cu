// Integers all the way: w_i = s_i / sum_j s_j with s_i, the sum over channels of a patch's largest differences, so that
// neither the order of a sum nor its rounding can change a result. `sums` stores s_i as a float, exactly; `normalise`
// divides in place.
//
// An anomaly map adds its strength wherever it is above 0. That is at least any gradient of the frame: the peak of a
// patch with an anomaly is the strength plus the peak beneath the anomaly. `anomalies` stores the sum u_i of these as
// -1 - u_i, and `normalise` adds the strength, which it finds in the largest bytes of all patches.
#include "motion_weights.h"

#include <stdexcept>
#include <string>

#include "launch.h"

namespace aedmae {
namespace {

constexpr int32_t kThreads = 128, kBlocks = 8;  // a block, and on a multiprocessor: registers enough for either
constexpr int32_t kFramesPerThread = 8;         // of motion_gradient: each frame is loaded once and used twice
constexpr uint32_t kWarp = 32, kAllLanes = 0xffffffffu;
constexpr uint64_t kLeastStrength = 128;

// The bytes that one load brings in, and what is done with all of them at once.
__device__ uint8_t abs_diff(uint8_t a, uint8_t b) { return a > b ? a - b : b - a; }
__device__ uint8_t maximum(uint8_t a, uint8_t b) { return a > b ? a : b; }
__device__ uint4 abs_diff(uint4 a, uint4 b) {
  return make_uint4(__vabsdiffu4(a.x, b.x), __vabsdiffu4(a.y, b.y), __vabsdiffu4(a.z, b.z), __vabsdiffu4(a.w, b.w));
}
__device__ uint4 maximum(uint4 a, uint4 b) {
  return make_uint4(__vmaxu4(a.x, b.x), __vmaxu4(a.y, b.y), __vmaxu4(a.z, b.z), __vmaxu4(a.w, b.w));
}

// The frames whose difference is frame t's gradient; one that does not exist is t itself.
__device__ int32_t frame_before(int32_t t) { return t > 0 ? t - 1 : 0; }
__device__ int32_t frame_after(int32_t t, int32_t span, int32_t count) {
  return span == 2 && t + 1 < count ? t + 1 : t;
}

// A thread takes the same bytes of several frames, one after another; and of several more, where the grid has fewer
// blocks than there are.
template <class Bytes>
__global__ void __launch_bounds__(kThreads, kBlocks) differences(const MotionGradient a) {
  const int64_t pitch = a.size / static_cast<int64_t>(sizeof(Bytes));
  const int64_t at = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (at >= pitch) return;
  const auto* const frames = reinterpret_cast<const Bytes*>(a.frames) + at;
  auto* const out = reinterpret_cast<Bytes*>(a.out) + at;
  for (int64_t several = blockIdx.y; several * kFramesPerThread < a.count; several += gridDim.y) {
    const auto first = static_cast<int32_t>(several * kFramesPerThread);
    Bytes before = frames[frame_before(first) * pitch], now = frames[first * pitch];
#pragma unroll 4
    for (int32_t t = first; t < a.count && t < first + kFramesPerThread; ++t) {
      const Bytes next = t + 1 < a.count ? frames[(t + 1) * pitch] : now;
      out[t * pitch] = abs_diff(before, a.span == 2 ? next : now);
      before = now;
      now = next;
    }
  }
}

// The largest byte of p, or of |p - q|, in each column of `rows` rows, which lie `stride` apart.
template <bool difference, class Bytes>
__device__ Bytes largest_below(const Bytes* p, const Bytes* q, int32_t rows, int32_t stride) {
  Bytes largest{};
#pragma unroll 4
  for (int32_t y = 0; y < rows; ++y, p += stride, q += stride)
    largest = maximum(largest, difference ? abs_diff(*p, *q) : *p);
  return largest;
}

// Which row of patches a thread is on. A block takes blockDim.y of them of one frame, whole warps on each; every thread
// goes to every barrier, those with nothing to do as well.
struct PatchRow {
  int32_t across, down;  // patches
  int32_t frame, number;
  bool inside;
  int32_t first, step;  // this thread's share: first, first + step, ...

  __device__ explicit PatchRow(const MotionWeights& a)
      : across(a.width / a.patch),
        down(a.height / a.patch),
        frame(static_cast<int32_t>(blockIdx.x)),
        number(static_cast<int32_t>(blockIdx.y * blockDim.y + threadIdx.y)),
        inside(number < down),
        first(static_cast<int32_t>(threadIdx.x)),
        step(static_cast<int32_t>(blockDim.x)) {}

  // Its first row of pixels in frame t, and its first token in its own, counted through all frames.
  __device__ int64_t pixels(int32_t t, const MotionWeights& a) const {
    return static_cast<int64_t>(t) * a.height + static_cast<int64_t>(number) * a.patch;
  }
  __device__ int64_t token() const { return (static_cast<int64_t>(frame) * down + number) * across; }
};

// Of the largest byte in each column [width, channels]: the largest of each patch and channel, put at the patch's
// start.
__device__ void peaks_of_patches(const MotionWeights& a, const PatchRow& r, uint8_t* columns) {
  for (int32_t i = r.first; r.inside && i < r.across * a.channels; i += r.step) {
    uint8_t* const channel = columns + i / a.channels * (a.patch * a.channels) + i % a.channels;
    uint8_t largest = 0;
    for (int32_t x = 0; x < a.patch; ++x) largest = maximum(largest, channel[x * a.channels]);
    *channel = largest;  // where this thread alone has read
  }
}

template <class Bytes, bool difference>
__global__ void __launch_bounds__(kThreads, kBlocks) sums(const MotionWeights a) {
  const PatchRow r(a);
  const int32_t row_bytes = a.width * a.channels;
  uint8_t* const columns = shared_memory<uint8_t>() + threadIdx.y * static_cast<uint32_t>(row_bytes);
  const auto rows_of = [&](int32_t t) {
    return reinterpret_cast<const Bytes*>(a.frames + r.pixels(t, a) * row_bytes);
  };
  const Bytes* const p = rows_of(difference ? frame_before(r.frame) : r.frame);
  const Bytes* const q = rows_of(difference ? frame_after(r.frame, a.span, a.count) : r.frame);
  const int32_t vectors = row_bytes / static_cast<int32_t>(sizeof(Bytes));
  for (int32_t x = r.first; r.inside && x < vectors; x += r.step)
    reinterpret_cast<Bytes*>(columns)[x] = largest_below<difference>(p + x, q + x, a.patch, vectors);
  __syncthreads();
  peaks_of_patches(a, r, columns);
  __syncthreads();
  for (int32_t i = r.first; r.inside && i < r.across; i += r.step) {
    const uint8_t* const peaks = columns + i * a.patch * a.channels;
    int32_t sum = 0;
    uint8_t largest = 0;
    for (int32_t c = 0; c < a.channels; ++c) sum += peaks[c], largest = maximum(largest, peaks[c]);
    a.out[r.token() + i] = static_cast<float>(sum);
    if (a.peaks) a.peaks[r.token() + i] = largest;
  }
}

// Patches with an anomaly: the sum of their peaks beneath it. `frames` are gradients.
__global__ void __launch_bounds__(kThreads) anomalies(const MotionWeights a) {
  const PatchRow r(a);
  const int32_t row_bytes = a.width * a.channels;
  uint8_t* const columns = shared_memory<uint8_t>() + threadIdx.y * static_cast<uint32_t>(row_bytes + a.width);
  uint8_t* const touched = columns + row_bytes;  // [width]: any of the column is abnormal
  const int64_t start = r.pixels(r.frame, a) * a.width;
  for (int32_t x = r.first; r.inside && x < a.width; x += r.step) {
    uint8_t* const column = columns + x * a.channels;
    for (int32_t c = 0; c < a.channels; ++c) column[c] = 0;
    touched[x] = 0;
    for (int32_t y = 0; y < a.patch; ++y) {
      const int64_t pixel = start + static_cast<int64_t>(y) * a.width + x;
      if (!a.anomaly[pixel]) continue;
      touched[x] = 1;
      for (int32_t c = 0; c < a.channels; ++c) column[c] = maximum(column[c], a.frames[pixel * a.channels + c]);
    }
  }
  __syncthreads();
  peaks_of_patches(a, r, columns);
  __syncthreads();
  for (int32_t i = r.first; r.inside && i < r.across; i += r.step) {
    uint8_t any = 0;
    for (int32_t x = 0; x < a.patch; ++x) any |= touched[i * a.patch + x];
    int32_t sum = 0;
    for (int32_t c = 0; c < a.channels; ++c) sum += columns[i * a.patch * a.channels + c];
    if (any) a.out[r.token() + i] = static_cast<float>(-1 - sum);
  }
}

// The block's values joined into one, which every thread gets.
template <class Join>
__device__ uint64_t join_block(uint64_t mine, uint64_t* partial, Join join) {
  for (uint32_t offset = kWarp / 2; offset > 0; offset /= 2)
    mine = join(mine, __shfl_xor_sync(kAllLanes, mine, offset));
  if (threadIdx.x % kWarp == 0) partial[threadIdx.x / kWarp] = mine;
  __syncthreads();
  uint64_t all = partial[0];
  for (uint32_t warp = 1; warp < kThreads / kWarp; ++warp) all = join(all, partial[warp]);
  __syncthreads();  // `partial` may be used again
  return all;
}

// One block a frame.
__global__ void __launch_bounds__(kThreads) normalise(float* out, const uint8_t* peaks, int32_t tokens,
                                                      int32_t channels) {
  auto* const partial = shared_memory<uint64_t>();  // [kThreads / kWarp]
  const int64_t start = static_cast<int64_t>(blockIdx.x) * tokens;
  float* const row = out + start;
  const int32_t first = static_cast<int32_t>(threadIdx.x);
  if (peaks) {
    uint64_t strength = kLeastStrength;
    const auto larger = [](uint64_t a, uint64_t b) { return a > b ? a : b; };
    for (int32_t i = first; i < tokens; i += kThreads) strength = larger(strength, peaks[start + i]);
    const auto added = static_cast<float>(join_block(strength, partial, larger) * static_cast<uint64_t>(channels));
    for (int32_t i = first; i < tokens; i += kThreads)
      if (row[i] < 0) row[i] = added - row[i] - 1;
  }
  uint64_t mine = 0;
  for (int32_t i = first; i < tokens; i += kThreads) mine += static_cast<uint64_t>(row[i]);
  const uint64_t total = join_block(mine, partial, [](uint64_t a, uint64_t b) { return a + b; });
  for (int32_t i = first; i < tokens; i += kThreads)
    row[i] = total ? row[i] / static_cast<float>(total) : 1.0f / static_cast<float>(tokens);
}

bool aligned(const void* p) { return reinterpret_cast<uintptr_t>(p) % sizeof(uint4) == 0; }

// Threads on each row of patches, `items` pieces of work, and as many rows as fit: `bytes` of shared memory each.
dim3 block_for(uint32_t items, uint32_t bytes) {
  const uint32_t warps = (items + kWarp - 1) / kWarp, fit = kMaxRowBytes / bytes;
  const uint32_t x = warps * kWarp < kThreads ? warps * kWarp : kThreads;
  return dim3(x, kThreads / x < fit ? kThreads / x : fit);
}

// Such blocks for all frames and all their rows of patches.
dim3 grid_for(const MotionWeights& a, dim3 block) {
  const uint32_t down = a.height / a.patch, blocks = (down + block.y - 1) / block.y, most = block.y * kMostBlocks;
  if (blocks > kMostBlocks)
    throw std::invalid_argument((a.span ? "frames" : "gradient") + (": expected at most " + std::to_string(most)) +
                                " rows of patches, found " + std::to_string(down));
  return dim3(a.count, blocks);
}

}  // namespace

void motion_gradient_cuda(const MotionGradient& a, uintptr_t stream) {
  if (a.count == 0 || a.size == 0) return;  // a grid may not be empty
  const bool wide = a.size % static_cast<int64_t>(sizeof(uint4)) == 0 && aligned(a.frames) && aligned(a.out);
  const int64_t vectors = wide ? a.size / static_cast<int64_t>(sizeof(uint4)) : a.size;
  const uint32_t slices = (a.count + kFramesPerThread - 1) / kFramesPerThread;
  const dim3 grid(static_cast<uint32_t>((vectors + kThreads - 1) / kThreads),
                  slices < kMostBlocks ? slices : kMostBlocks);
  launch("motion_gradient", wide ? differences<uint4> : differences<uint8_t>, grid, dim3(kThreads), 0,
         reinterpret_cast<cudaStream_t>(stream), a);
}

void motion_weights_cuda(const MotionWeights& a, uintptr_t stream_address) {
  if (a.count == 0 || a.height == 0) return;  // a grid may not be empty
  const auto stream = reinterpret_cast<cudaStream_t>(stream_address);
  const uint32_t row_bytes = a.width * a.channels;
  const bool wide = row_bytes % sizeof(uint4) == 0 && aligned(a.frames);
  const dim3 block = block_for(wide ? row_bytes / sizeof(uint4) : row_bytes, row_bytes);
  const auto kernel = a.span ? (wide ? sums<uint4, true> : sums<uint8_t, true>)
                             : (wide ? sums<uint4, false> : sums<uint8_t, false>);
  launch("motion_weights", kernel, grid_for(a, block), block, block.y * row_bytes, stream, a);
  if (a.anomaly) {
    const uint32_t bytes = row_bytes + a.width;
    const dim3 of_pixels = block_for(a.width, bytes);
    launch("patch_weights", anomalies, grid_for(a, of_pixels), of_pixels, of_pixels.y * bytes, stream, a);
  }
  launch("motion_weights", normalise, dim3(a.count), dim3(kThreads), kThreads / kWarp * sizeof(uint64_t), stream, a.out,
         static_cast<const uint8_t*>(a.peaks), a.height / a.patch * (a.width / a.patch), a.channels);
}

}  // namespace aedmae
