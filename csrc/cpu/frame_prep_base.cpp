#define AEDMAE_ISA base
#include "frame_prep_impl.h"
