// The CUDA kernel of frame_prep for the host, as a C function for ctypes.
#include "cuda_on_host.h"

#include "../../csrc/cuda/frame_prep.cu"

extern "C" void frame_prep(const aedmae::FramePrep* args) { aedmae::frame_prep_cuda(*args, 0); }
