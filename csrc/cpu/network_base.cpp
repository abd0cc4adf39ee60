#define AEDMAE_ISA base
#include "network_impl.h"

namespace aedmae {
namespace base {
const NetworkKernels network_f32 = network_of<float>, network_bf16 = network_of<Bf16>;
const Int8Kernels int8_f32 = int8_of<float>, int8_bf16 = int8_of<Bf16>;
}
}  // namespace aedmae
