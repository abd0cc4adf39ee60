#define AEDMAE_ISA base
#include "discrepancy_map_impl.h"
