// gcc 12 warns of its own _mm512_undefined_epi32 (bug 105593).
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#define AEDMAE_ISA avx512
#include "discrepancy_map_impl.h"
