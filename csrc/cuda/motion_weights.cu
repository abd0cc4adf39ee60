// Integers all the way: w_i = s_i / sum_j s_j with s_i, the sum over channels of a patch's largest differences, so that
// neither the order of a sum nor its rounding can change a result. `sums` stores s_i as a float, exactly; `normalise`
// divides in place.
#include "launch.h"
#include "motion_weights.h"

namespace aedmae {
namespace {

constexpr int32_t kThreads = 128, kBlocks = 8;  // a block, and on a multiprocessor: registers enough for either
constexpr uint32_t kWarp = 32, kAllLanes = 0xffffffffu;

// The bytes that one load brings in, and what is done with all of them at once.
__device__ uint8_t abs_diff(uint8_t a, uint8_t b) { return a > b ? a - b : b - a; }
__device__ uint8_t maximum(uint8_t a, uint8_t b) { return a > b ? a : b; }
__device__ uint4 abs_diff(uint4 a, uint4 b) {
  return make_uint4(__vabsdiffu4(a.x, b.x), __vabsdiffu4(a.y, b.y), __vabsdiffu4(a.z, b.z), __vabsdiffu4(a.w, b.w));
}
__device__ uint4 maximum(uint4 a, uint4 b) {
  return make_uint4(__vmaxu4(a.x, b.x), __vmaxu4(a.y, b.y), __vmaxu4(a.z, b.z), __vmaxu4(a.w, b.w));
}

// The largest difference in each column of `rows` rows, which lie `stride` apart.
template <class Bytes>
__device__ Bytes largest_below(const Bytes* p, const Bytes* q, int32_t rows, int32_t stride) {
  Bytes largest{};
#pragma unroll 4
  for (int32_t y = 0; y < rows; ++y, p += stride, q += stride) largest = maximum(largest, abs_diff(*p, *q));
  return largest;
}

// A block takes blockDim.y rows of patches of one frame, whole warps on each.
template <class Bytes>
__global__ void __launch_bounds__(kThreads, kBlocks) sums(const MotionWeights a) {
  const int32_t row_bytes = a.width * a.channels, patch_bytes = a.patch * a.channels;
  const int32_t across = a.width / a.patch, down = a.height / a.patch;
  const int32_t t = static_cast<int32_t>(blockIdx.x);
  const int32_t patch_y = static_cast<int32_t>(blockIdx.y * blockDim.y + threadIdx.y);
  const bool inside = patch_y < down;  // every thread goes to every barrier
  const int32_t first = static_cast<int32_t>(threadIdx.x), step = static_cast<int32_t>(blockDim.x);
  uint8_t* const columns = shared_memory<uint8_t>() + threadIdx.y * static_cast<uint32_t>(row_bytes);

  const int32_t before = t > 0 ? t - 1 : 0, after = a.release && t + 1 < a.count ? t + 1 : t;
  const int64_t row = static_cast<int64_t>(patch_y) * a.patch;
  const auto* p =
      reinterpret_cast<const Bytes*>(a.frames + (static_cast<int64_t>(before) * a.height + row) * row_bytes);
  const auto* q = reinterpret_cast<const Bytes*>(a.frames + (static_cast<int64_t>(after) * a.height + row) * row_bytes);
  const int32_t vectors = row_bytes / static_cast<int32_t>(sizeof(Bytes));
  for (int32_t x = first; inside && x < vectors; x += step)
    reinterpret_cast<Bytes*>(columns)[x] = largest_below(p + x, q + x, a.patch, vectors);
  __syncthreads();
  // The largest of each patch and channel, put where this thread alone has read.
  for (int32_t i = first; inside && i < across * a.channels; i += step) {
    uint8_t* const channel = columns + i / a.channels * patch_bytes + i % a.channels;
    uint8_t largest = 0;
    for (int32_t x = 0; x < a.patch; ++x) largest = maximum(largest, channel[x * a.channels]);
    *channel = largest;
  }
  __syncthreads();
  float* const out = a.out + (static_cast<int64_t>(t) * down + patch_y) * across;
  for (int32_t i = first; inside && i < across; i += step) {
    int32_t sum = 0;
    for (int32_t c = 0; c < a.channels; ++c) sum += columns[i * patch_bytes + c];
    out[i] = static_cast<float>(sum);
  }
}

__device__ uint64_t warp_sum(uint64_t value) {
  for (uint32_t offset = kWarp / 2; offset > 0; offset /= 2) value += __shfl_xor_sync(kAllLanes, value, offset);
  return value;
}

// One block a frame.
__global__ void __launch_bounds__(kThreads) normalise(float* out, int32_t tokens) {
  auto* const partial = shared_memory<uint64_t>();  // [kThreads / kWarp]
  float* const row = out + static_cast<int64_t>(blockIdx.x) * tokens;
  const int32_t first = static_cast<int32_t>(threadIdx.x);
  uint64_t mine = 0;
  for (int32_t i = first; i < tokens; i += kThreads) mine += static_cast<uint64_t>(row[i]);
  mine = warp_sum(mine);
  if (threadIdx.x % kWarp == 0) partial[threadIdx.x / kWarp] = mine;
  __syncthreads();
  uint64_t total = 0;
  for (uint32_t warp = 0; warp < kThreads / kWarp; ++warp) total += partial[warp];
  for (int32_t i = first; i < tokens; i += kThreads)
    row[i] = total ? row[i] / static_cast<float>(total) : 1.0f / static_cast<float>(tokens);
}

}  // namespace

void motion_weights_cuda(const MotionWeights& a, uintptr_t stream_address) {
  if (a.count == 0 || a.height == 0) return;  // a grid may not be empty
  const auto stream = reinterpret_cast<cudaStream_t>(stream_address);
  const uint32_t row_bytes = a.width * a.channels, down = a.height / a.patch;
  const bool wide = row_bytes % sizeof(uint4) == 0 && reinterpret_cast<uintptr_t>(a.frames) % sizeof(uint4) == 0;
  const uint32_t warps = ((wide ? row_bytes / sizeof(uint4) : row_bytes) + kWarp - 1) / kWarp;
  const uint32_t fit = kMaxRowBytes / row_bytes;  // rows of patches whose columns fit into shared memory
  const uint32_t x = warps * kWarp < kThreads ? warps * kWarp : kThreads;
  const uint32_t y = kThreads / x < fit ? kThreads / x : fit;
  const dim3 block(x, y), grid(a.count, (down + y - 1) / y);
  launch("motion_weights", wide ? sums<uint4> : sums<uint8_t>, grid, block, y * row_bytes, stream, a);
  launch("motion_weights", normalise, dim3(a.count), dim3(kThreads), kThreads / kWarp * sizeof(uint64_t), stream, a.out,
         a.height / a.patch * (a.width / a.patch));
}

}  // namespace aedmae
