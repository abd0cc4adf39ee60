#define AEDMAE_ISA avx2
#include "discrepancy_map_impl.h"
