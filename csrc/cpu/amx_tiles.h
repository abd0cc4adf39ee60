// Products in AMX's tiles, where the instruction set has them: eight registers of 16 rows of 64 bytes, which one
// instruction multiplies and adds up.
//
// A tile of A is 16 rows and 16 steps of 32 bits along k, one of B, as packed, 16 steps and 16 columns. What a tile of
// the result adds up is one chain in the order of k, two products a step in bfloat16 and four, exact ones, of levels.
#pragma once

#include "simd_float.h"

namespace aedmae {
namespace AEDMAE_ISA {
namespace {

#if defined(__AMX_TILE__)

// What lies at `p` is in memory by now. gcc 12 does not tell its optimizer what tiles are loaded from.
inline void settle(const void* p) { asm volatile("" ::"r"(p) : "memory"); }

// Tiles 0 and 1 are the result in rows 0 to 15, 2 and 3 in rows 16 to 31; 4 and 5 are A in these rows, 6 and 7 are B.
constexpr int64_t kTileRows = 16;

// Sets the tiles to so many rows, 32 at most, of 64 bytes, and to zeros.
inline void set_tiles(int64_t rows) {
  struct alignas(64) {
    uint8_t palette, start_row, reserved[14];
    uint16_t bytes[16];
    uint8_t rows[16];
  } tiles{};
  const auto first = static_cast<uint8_t>(rows < kTileRows ? rows : kTileRows);
  const auto second = static_cast<uint8_t>(rows > kTileRows ? rows - kTileRows : kTileRows);
  tiles.palette = 1;
  for (uint16_t& bytes : tiles.bytes) bytes = &bytes - tiles.bytes < 8 ? 64 : 0;
  tiles.rows[0] = tiles.rows[1] = tiles.rows[4] = first;
  tiles.rows[2] = tiles.rows[3] = tiles.rows[5] = second;
  tiles.rows[6] = tiles.rows[7] = kTileRows;
  settle(&tiles);
  _tile_loadconfig(&tiles);
}

// Tiles are there as long as one of these is.
struct Tiles {
  Tiles() { set_tiles(2 * kTileRows); }
  ~Tiles() { _tile_release(); }
  Tiles(const Tiles&) = delete;
  Tiles& operator=(const Tiles&) = delete;
};

// Tile c += tile a * tile b.
#define AEDMAE_MULTIPLY_TILES(c, a, b)        \
  if constexpr (sizeof(Operand) == 2) {       \
    _tile_dpbf16ps(c, a, b);                  \
  } else {                                    \
    _tile_dpbusd(c, a, b); /* as levels are */ \
  }

// c [rows, vecs * 16] = a [rows, K] times one panel, for as many rows as tiles are set to; `two` says whether those are
// more than 16. K is `steps` of 32 bits, whole tiles of them.
template <bool two, int vecs, class Operand>
void multiply_tiles(const Operand* a, int64_t a_stride, const float* b, int64_t b_stride, int64_t steps, float* c,
                    int64_t c_stride) {
  constexpr int64_t kElements = 4 / sizeof(Operand);  // of a step
  const int64_t a_bytes = a_stride * static_cast<int64_t>(sizeof(Operand)), b_bytes = 4 * b_stride,
                c_bytes = 4 * c_stride;
  settle(a);
  _tile_zero(0);
  if constexpr (vecs > 1) _tile_zero(1);
  if constexpr (two) _tile_zero(2);
  if constexpr (two && vecs > 1) _tile_zero(3);
  for (int64_t s = 0; s < steps; s += 16, a += 16 * kElements, b += 16 * b_stride) {
    _tile_loadd(6, b, b_bytes);
    _tile_loadd(4, a, a_bytes);
    AEDMAE_MULTIPLY_TILES(0, 4, 6)
    if constexpr (vecs > 1) {
      _tile_loadd(7, b + 16, b_bytes);
      AEDMAE_MULTIPLY_TILES(1, 4, 7)
    }
    if constexpr (two) {
      _tile_loadd(5, a + kTileRows * a_stride, a_bytes);
      AEDMAE_MULTIPLY_TILES(2, 5, 6)
    }
    if constexpr (two && vecs > 1) {
      AEDMAE_MULTIPLY_TILES(3, 5, 7)
    }
  }
  _tile_stored(0, c, c_bytes);
  if constexpr (vecs > 1) _tile_stored(1, c + 16, c_bytes);
  if constexpr (two) _tile_stored(2, c + kTileRows * c_stride, c_bytes);
  if constexpr (two && vecs > 1) _tile_stored(3, c + kTileRows * c_stride + 16, c_bytes);
  settle(c);
}

#undef AEDMAE_MULTIPLY_TILES

#else

struct Tiles {
  Tiles() {}
};

#endif

}  // namespace
}  // namespace AEDMAE_ISA
}  // namespace aedmae
