#define AEDMAE_ISA avx2
#include "frame_prep_impl.h"
