// Kernels that are right, and the same with one fault each, to show that running them on the host tells them apart.
#include "cuda_on_host.h"

namespace aedmae {
namespace {

constexpr unsigned kThreads = 96;

// out[i] = in[n - 1 - i], through shared memory, twice over, so that the memory is used again.
template <bool before_reading, bool before_the_next_round>
void reverse(const int* in, int* out) {
  int* const memory = shared_memory<int>();
  for (unsigned round = 0; round < 2; ++round) {
    memory[threadIdx.x] = in[round * kThreads + threadIdx.x];
    if (before_reading) __syncthreads();
    out[round * kThreads + threadIdx.x] = memory[kThreads - 1 - threadIdx.x];
    if (before_the_next_round) __syncthreads();
  }
}

// out[i] = the sum over i's warp.
void warp_sums(const int* in, int* out) {
  int value = in[threadIdx.x];
  for (unsigned offset = 16; offset > 0; offset /= 2) value += __shfl_xor_sync(0xffffffffu, value, offset);
  out[threadIdx.x] = value;
}

// out[i] = the sum from i to the end of i's warp.
void suffix_sums(const int* in, int* out) {
  const unsigned lane = threadIdx.x % 32;
  int value = in[threadIdx.x];
  for (unsigned offset = 1; offset < 32; offset *= 2) {
    const int other = __shfl_down_sync(0xffffffffu, value, offset);
    if (lane + offset < 32) value += other;
  }
  out[threadIdx.x] = value;
}

void not_all_at_the_barrier(const int* in, int* out) {
  if (threadIdx.x == 5) return;
  __syncthreads();
  out[threadIdx.x] = in[threadIdx.x];
}

void a_lane_is_missing(const int* in, int* out) {
  if (threadIdx.x == 5) return;
  out[threadIdx.x] = __shfl_sync(0xffffffffu, in[threadIdx.x], 3);
}

void reads_a_lane_outside_the_mask(const int* in, int* out) {
  if (threadIdx.x < 16) out[threadIdx.x] = __shfl_sync(0xffffu, in[threadIdx.x], 20);
}

using Kernel = void (*)(const int*, int*);
const std::pair<const char*, Kernel> kKernels[] = {
    {"reverse", reverse<true, true>},
    {"reverse without the barrier before reading", reverse<false, true>},
    {"reverse without the barrier before the next round", reverse<true, false>},
    {"warp sums", warp_sums},
    {"suffix sums", suffix_sums},
    {"not all at the barrier", not_all_at_the_barrier},
    {"a lane is missing", a_lane_is_missing},
    {"reads a lane outside the mask", reads_a_lane_outside_the_mask},
};

}  // namespace
}  // namespace aedmae

// Runs a kernel on one block of 96 threads; what it throws is put into `error`.
extern "C" void run(const char* name, const int* in, int* out, unsigned order, char* error, size_t size) {
  aedmae::on_host::order = order;
  for (const auto& [known, kernel] : aedmae::kKernels) {
    if (std::string(known) != name) continue;
    try {
      aedmae::launch(name, kernel, dim3(1), dim3(aedmae::kThreads), aedmae::kThreads * sizeof(int), nullptr, in, out);
    } catch (const std::exception& thrown) {
      std::strncpy(error, thrown.what(), size);
    }
    return;
  }
  std::strncpy(error, "no such kernel", size);
}
