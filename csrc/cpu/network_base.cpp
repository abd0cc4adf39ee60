#define AEDMAE_ISA base
#include "network_impl.h"

namespace aedmae {
namespace base {
const NetworkKernels network_f32 = network_of<float>, network_bf16 = network_of<Bf16>;
}
}  // namespace aedmae
