// frame_prep on the GPU: planes as decoded -> BGR at the model's size, one launch.
#pragma once

#include "../common/frame_prep.h"

namespace aedmae {

// Pointers are device memory of the current device; `stream` is a cudaStream_t. Throws std::invalid_argument where a
// frame spans 4 GiB or more, and std::runtime_error.
void frame_prep_cuda(const FramePrep& args, uintptr_t stream);

}  // namespace aedmae
