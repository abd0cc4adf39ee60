// gcc 12 warns of its own _mm512_undefined_epi32 and the like (bug 105593).
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif
#define AEDMAE_ISA amx
#include "network_impl.h"

namespace aedmae {
namespace amx {
const NetworkKernels network_bf16 = network_of<Bf16>;
const Int8Kernels int8_f32 = int8_of<float>, int8_bf16 = int8_of<Bf16>;
}
}  // namespace aedmae
