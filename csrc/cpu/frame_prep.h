// frame_prep on the CPU: planes as decoded -> BGR at the model's size, one pass, one thread.
#pragma once

#include "../common/frame_prep.h"

namespace aedmae {

void frame_prep_cpu(const FramePrep& args);

}  // namespace aedmae
