#define AEDMAE_ISA base
#include "smooth_max_impl.h"
