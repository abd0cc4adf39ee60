#define AEDMAE_ISA avx2
#include "smooth_max_impl.h"
