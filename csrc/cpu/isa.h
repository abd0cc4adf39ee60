// One table of kernels per instruction set, chosen once at run time.
//
// A kernel that gains from an instruction set has one source for each (`frame_prep_base.cpp`, `frame_prep_avx2.cpp`,
// ...), compiled with that set's flags by setup.py, and one field in `Kernels`. Those sources may use nothing that the
// linker merges across translation units (inline functions outside an unnamed namespace, the standard library):
// the copy that it keeps might need instructions that the CPU at hand does not have.
#pragma once

#include <string>
#include <vector>

#include "frame_prep_rows.h"
#include "motion_weights.h"
#include "network.h"
#include "smooth_max.h"

namespace aedmae {

struct Kernels {
  const char* isa;
  FramePrepRows frame_prep;
  SmoothMaxKernels smooth_max;
  MotionKernels motion;
  NetworkKernels network_f32, network_bf16;
  Int8Kernels int8_f32, int8_bf16;
};

const Kernels& kernels();              // those in force: what was forced, or what AEDMAE_CPU_ISA in the environment
                                       // says, or the best; throws std::invalid_argument where that is not to be had
void choose_isa();                     // from now on kernels() does not throw: such a name in the environment is "auto"
std::vector<std::string> isas();       // those this build and this CPU have, best last
void set_isa(const std::string& isa);  // forces one, "auto" lets go; throws std::invalid_argument
const std::string& why_no_amx();       // empty where "amx" is to be had, given the AVX-512 that goes with it

}  // namespace aedmae
