// Scratch memory of a call, from blocks that the calling thread keeps: after its first call of a size it allocates
// nothing more.
#pragma once

#include <cstdint>

namespace aedmae {

class Scratch {
 public:
  Scratch();   // one at a time per thread
  ~Scratch();  // gives back everything taken

  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  void* take(int64_t bytes);  // 64-byte aligned, uninitialised; throws std::bad_alloc
};

}  // namespace aedmae
