// Runs CUDA kernels on the host: include this before a .cu file and compile it as C++. No CUDA toolkit is needed.
//
// Every thread of a block is a fiber, which runs until it has to wait at a barrier or for its warp. In which order the
// fibers get their turns is a setting: a kernel whose result depends on it lacks a barrier. Shared memory is poisoned
// before each block. Stricter than a GPU: every thread of a block has to come to each of its barriers, every lane of a
// mask to each exchange, and a grid has room for few blocks along y and z, else the launch throws.
#pragma once

#include <ucontext.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <exception>
#include <functional>
#include <memory>
#include <numeric>
#include <random>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

#define AEDMAE_CUDA_ON_HOST  // csrc/cuda/launch.h leaves `launch`, `shared_memory` and `kMostBlocks` to this file

#define __global__
#define __device__
#define __host__
#define __launch_bounds__(...)

struct dim3 {
  unsigned x, y, z;
  dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

using cudaStream_t = void*;

inline dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace aedmae {
namespace on_host {

constexpr size_t kStack = 64 << 10;
constexpr unsigned kWarp = 32;
constexpr unsigned char kPoison = 0xA5;

// The order of turns: 0 forward, 1 reverse, any other number seeds a shuffle, a new one for every round.
inline unsigned order = 0;

// Counts how often something was completed; fibers wait for the next time.
struct Gate {
  uint64_t passed = 0;
  unsigned here = 0;  // or, of a warp, the lanes
};

struct Warp {
  Gate gate;
  uint64_t values[2][kWarp];  // of this exchange and of the last, which slower lanes may still read
};

struct Fiber {
  ucontext_t context;
  std::unique_ptr<char[]> stack{new char[kStack]};
  dim3 index;
  const Gate* waits_at;  // nullptr: it can go on
  uint64_t until;        // gate->passed has to be more
  bool done;

  bool ready() const { return !done && (!waits_at || waits_at->passed > until); }
};

// One block at a time.
class Block {
 public:
  Block(dim3 size, size_t shared_bytes, std::function<void()> thread)
      : thread_(std::move(thread)), fibers_(size.x * size.y * size.z), shared_(shared_bytes / sizeof(Aligned) + 1) {
    for (unsigned i = 0; i < fibers_.size(); ++i)
      fibers_[i].index = dim3(i % size.x, i / size.x % size.y, i / size.x / size.y);
  }

  void run() {
    current = this;
    barrier_ = Gate();
    warps_.assign((fibers_.size() + kWarp - 1) / kWarp, Warp());
    std::memset(shared_.data(), kPoison, shared_.size() * sizeof(Aligned));
    for (Fiber& fiber : fibers_) start(fiber);
    std::vector<unsigned> turns(fibers_.size());
    std::iota(turns.begin(), turns.end(), 0u);
    if (order == 1) std::reverse(turns.begin(), turns.end());
    std::mt19937 random(order);
    for (size_t left = fibers_.size(); left > 0;) {
      if (order > 1) std::shuffle(turns.begin(), turns.end(), random);
      bool moved = false;
      for (unsigned i : turns) {
        if (!fibers_[i].ready()) continue;
        moved = true;
        resume(i);
        left -= fibers_[i].done;
      }
      if (!moved) throw std::runtime_error("deadlock: " + std::to_string(left) + " threads wait for others");
    }
  }

  void* shared() { return shared_.data(); }

  void barrier() {
    if (++barrier_.here == fibers_.size())
      open(barrier_);
    else
      wait(barrier_);
  }

  // Every lane in `mask` puts down a value; each gets the one of lane `from`.
  uint64_t exchange(uint32_t mask, uint64_t value, unsigned from) {
    Warp& warp = warps_[running_ / kWarp];
    uint64_t* const values = warp.values[warp.gate.passed % 2];
    const uint32_t lane = 1u << running_ % kWarp;
    if (!(mask & lane) || warp.gate.here & ~mask || !(mask >> from & 1))
      throw std::runtime_error("warp operation: a lane that is not in the mask takes part or is read");
    values[running_ % kWarp] = value;
    warp.gate.here |= lane;
    if (warp.gate.here == mask)
      open(warp.gate);
    else
      wait(warp.gate);
    return values[from];
  }

  unsigned lane() const { return running_ % kWarp; }

  static inline Block* current = nullptr;

 private:
  struct alignas(16) Aligned {
    unsigned char bytes[16];
  };

  void start(Fiber& fiber) {
    fiber.waits_at = nullptr;
    fiber.done = false;
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack.get();
    fiber.context.uc_stack.ss_size = kStack;
    fiber.context.uc_link = &scheduler_;
    makecontext(&fiber.context, [] { current->enter(); }, 0);
  }

  void enter() {  // an exception must not leave a fiber
    try {
      thread_();
    } catch (...) {
      failure_ = std::current_exception();
    }
    fibers_[running_].done = true;
  }

  void resume(unsigned i) {
    running_ = i;
    threadIdx = fibers_[i].index;
    swapcontext(&scheduler_, &fibers_[i].context);
    if (failure_) std::rethrow_exception(failure_);
  }

  void open(Gate& gate) {
    gate.here = 0;
    ++gate.passed;
  }

  void wait(const Gate& gate) {
    Fiber& fiber = fibers_[running_];
    fiber.waits_at = &gate;
    fiber.until = gate.passed;
    swapcontext(&fiber.context, &scheduler_);
  }

  std::function<void()> thread_;
  std::vector<Fiber> fibers_;
  std::vector<Aligned> shared_;
  std::vector<Warp> warps_;
  Gate barrier_;
  ucontext_t scheduler_;
  unsigned running_ = 0;
  std::exception_ptr failure_;
};

template <class T>
T exchange(uint32_t mask, T value, unsigned from) {
  static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= sizeof(uint64_t));
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(T));
  bits = Block::current->exchange(mask, bits, from);
  std::memcpy(&value, &bits, sizeof(T));
  return value;
}

// Of four bytes each: f(a, b).
template <class F>
unsigned bytewise(unsigned a, unsigned b, F f) {
  unsigned result = 0;
  for (int shift = 0; shift < 32; shift += 8)
    result |= static_cast<unsigned>(f(static_cast<int>(a >> shift & 255), static_cast<int>(b >> shift & 255))) << shift;
  return result;
}

}  // namespace on_host

constexpr uint32_t kMostBlocks = 256;  // few, so that tests have more to do than a grid takes

template <class... Params, class... Args>
void launch(const char*, void (*kernel)(Params...), dim3 grid, dim3 block, size_t shared_bytes, cudaStream_t,
            Args... args) {
  if (grid.y > kMostBlocks || grid.z > kMostBlocks) throw std::runtime_error("invalid configuration argument");
  gridDim = grid;
  blockDim = block;
  on_host::Block fibers(block, shared_bytes, [&] { kernel(args...); });
  for (blockIdx.z = 0; blockIdx.z < grid.z; ++blockIdx.z)
    for (blockIdx.y = 0; blockIdx.y < grid.y; ++blockIdx.y)
      for (blockIdx.x = 0; blockIdx.x < grid.x; ++blockIdx.x) fibers.run();
}

template <class T>
T* shared_memory() {
  return static_cast<T*>(on_host::Block::current->shared());
}

}  // namespace aedmae

inline void __syncthreads() { aedmae::on_host::Block::current->barrier(); }

template <class T>
T __shfl_sync(uint32_t mask, T value, unsigned from) {
  return aedmae::on_host::exchange(mask, value, from % aedmae::on_host::kWarp);
}
template <class T>
T __shfl_xor_sync(uint32_t mask, T value, unsigned lanes) {
  return aedmae::on_host::exchange(mask, value, aedmae::on_host::Block::current->lane() ^ lanes);
}
template <class T>
T __shfl_down_sync(uint32_t mask, T value, unsigned lanes) {
  const unsigned lane = aedmae::on_host::Block::current->lane(), from = lane + lanes;
  return aedmae::on_host::exchange(mask, value, from < aedmae::on_host::kWarp ? from : lane);
}

struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
inline unsigned __vabsdiffu4(unsigned a, unsigned b) {
  return aedmae::on_host::bytewise(a, b, [](int p, int q) { return p > q ? p - q : q - p; });
}
inline unsigned __vmaxu4(unsigned a, unsigned b) {
  return aedmae::on_host::bytewise(a, b, [](int p, int q) { return p > q ? p : q; });
}
