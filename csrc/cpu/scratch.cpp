#include "scratch.h"

#include <cstddef>
#include <memory>
#include <new>
#include <vector>

namespace aedmae {
namespace {

constexpr int64_t kAlign = 64;

struct Free {
  void operator()(std::byte* p) const { ::operator delete(p, std::align_val_t(kAlign)); }
};

struct Block {
  explicit Block(int64_t n) : bytes(n), data(static_cast<std::byte*>(::operator new(n, std::align_val_t(kAlign)))) {}

  int64_t bytes;
  std::unique_ptr<std::byte, Free> data;
};

struct Memory {
  std::vector<Block> blocks;  // the last one is in use from `used` on
  int64_t used = 0;
};

thread_local Memory memory;

}  // namespace

Scratch::Scratch() = default;

Scratch::~Scratch() {
  if (memory.blocks.size() > 1) {  // it did not fit: next time, one block for all of it
    int64_t total = 0;
    for (const Block& block : memory.blocks) total += block.bytes;
    memory.blocks.clear();
    try {
      memory.blocks.emplace_back(total);
    } catch (const std::bad_alloc&) {  // then the next call tries again, and may throw
    }
  }
  memory.used = 0;
}

void* Scratch::take(int64_t bytes) {
  bytes = (bytes + kAlign - 1) / kAlign * kAlign;
  if (memory.blocks.empty() || memory.used + bytes > memory.blocks.back().bytes) {
    memory.blocks.emplace_back(bytes);
    memory.used = 0;
  }
  std::byte* taken = memory.blocks.back().data.get() + memory.used;
  memory.used += bytes;
  return taken;
}

}  // namespace aedmae
