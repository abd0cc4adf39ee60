#define AEDMAE_ISA base
#include "motion_weights_impl.h"
