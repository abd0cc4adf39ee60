#define AEDMAE_ISA avx2
#include "motion_weights_impl.h"
