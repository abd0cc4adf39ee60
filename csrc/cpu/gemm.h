// Matrix products for the network: packed B, a register-blocked tile, the caller's epilogue on each tile while it is
// in the first-level cache. One thread; every value is one chain of multiply-adds in the order of k, whatever the
// block that it falls into, so that a row's result depends on that row alone.
//
// Weights come packed (aedmae_fast/ops/packing.py), or are packed anew in every call.
//
// An operand is float, bfloat16 where the instruction set multiplies it (vdpbf16ps, or AMX's tiles), or a level of a
// quantized row. They go by steps of 32 bits along k: one float, two bfloat16, two or four levels.
#pragma once

#include <type_traits>

#include "amx_tiles.h"
#include "levels.h"

namespace aedmae {
namespace AEDMAE_ISA {
namespace {

// Of a block of the result that is computed at a time.
#if defined(__AMX_TILE__)
constexpr int kRows = 2 * kTileRows, kVecs = 2;  // four of the eight tiles
#elif defined(__AVX512F__)
constexpr int kRows = 6, kVecs = 4;  // 24 accumulators of 32 registers
#else
constexpr int kRows = 6, kVecs = 2;  // 12 of 16
#endif
constexpr int64_t kPanel = kVecs * kWidth;  // columns of a block

// Rows that go through a layer together, and steps of a product in each turn of its loop. Where vectors are short, as
// on CPUs whose caches are small, fewer rows are 1 to 5 % faster and more steps 2 %.
#if defined(__AVX512F__)
constexpr int64_t kBlock = 8 * kRows;
constexpr int kStepsATurn = 1;
#else
constexpr int64_t kBlock = 4 * kRows;
constexpr int kStepsATurn = 4;
#endif

template <class T>
constexpr int64_t kPerStep = 4 / sizeof(T);

#if defined(__AMX_TILE__)
constexpr int64_t kStepsAtOnce = 16;  // a tile's; rows and columns go on with zeros up to a whole one
#else
constexpr int64_t kStepsAtOnce = 1;
#endif

// What tensors of T are multiplied as.
template <class T>
struct OperandOf {
  using type = float;
};
#if defined(__AVX512BF16__)
template <>
struct OperandOf<Bf16> {
  using type = Bf16;
};
#endif

template <class T>
T* take(Scratch& scratch, int64_t count) {
  return static_cast<T*>(scratch.take(count * sizeof(T)));
}

// What products of an operand add up in.
template <class Operand>
using Sum = std::conditional_t<std::is_same_v<Operand, Level>, Int, Float>;

// B [K, N], packed: panels of kPanel columns, or of as many vectors as a narrower B needs, each [steps][columns]. What
// the last steps have beyond K is zeros, as are columns from N on up to a whole vector; those behind it are not read.
template <class Operand>
struct Panels {
  float* data;  // one element a step and column
  int64_t steps, columns;

  Panels(float* to, int64_t k, int64_t n)
      : data(to), steps(round_up(k, kStepsAtOnce * kPerStep<Operand>) / kPerStep<Operand>), columns(n) {}

  int64_t width() const { return columns ? least(kPanel, round_up(columns, kWidth)) : kWidth; }  // of a panel
  int64_t size() const { return steps * round_up(columns, width()); }
  int vecs(int64_t column) const { return static_cast<int>((least(columns - column, kPanel) + kWidth - 1) / kWidth); }
  const float* panel(int64_t column) const { return data + column * steps; }
};

template <class Operand>
Panels<Operand> take_panels(Scratch& scratch, int64_t k, int64_t columns) {
  Panels<Operand> b(nullptr, k, columns);
  b.data = take<float>(scratch, b.size());
  return b;
}

// The kWidth steps from element k on of a row that has `size` elements, zeros beyond its end.
template <class Operand, class T>
inline Float steps_at(const T* row, int64_t k, int64_t size) {
  if constexpr (sizeof(Operand) == sizeof(T)) {
    constexpr int64_t kElements = kWidth * kPerStep<T>;
    Float steps;
    if (size - k >= kElements) {
      std::memcpy(&steps, row + k, sizeof steps);
    } else {
      T elements[kElements] = {};
      std::memcpy(elements, row + k, (size - k) * sizeof(T));
      std::memcpy(&steps, elements, sizeof steps);
    }
    return steps;
  } else if constexpr (std::is_same_v<T, int8_t>) {
    typedef int8_t Bytes __attribute__((vector_size(kWidth * kPerStep<Operand>)));
    typedef Operand Wide __attribute__((vector_size(4 * kWidth)));
    Bytes bytes{};
    if (size - k >= kWidth * kPerStep<Operand>) {
      std::memcpy(&bytes, row + k, sizeof bytes);
    } else {
      std::memcpy(&bytes, row + k, size - k);
    }
    return (Float)__builtin_convertvector(bytes, Wide);
  } else {
    return load(row + k, size - k);  // one element a step, widened
  }
}

// Row i, lane j <-> row j, lane i.
inline void transpose(Float (&rows)[kWidth]) {
#if defined(__AVX512F__)
  const Int lane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
#pragma GCC unroll 4
  for (int half = kWidth / 2; half; half /= 2) {  // swaps the upper right and the lower left of ever smaller blocks
    const Int lower = (lane & half) == 0 ? lane : lane - half + kWidth;
    const Int upper = (lane & half) == 0 ? lane + half : lane + kWidth;
#pragma GCC unroll 16
    for (int i = 0; i < kWidth; ++i) {
      if (i & half) continue;
      const Float a = rows[i], b = rows[i + half];
      rows[i] = _mm512_permutex2var_ps(a, (__m512i)lower, b);
      rows[i + half] = _mm512_permutex2var_ps(a, (__m512i)upper, b);
    }
  }
#else
  Float columns[kWidth];
  for (int i = 0; i < kWidth; ++i)
    for (int j = 0; j < kWidth; ++j) columns[j][i] = rows[i][j];
  std::memcpy(rows, columns, sizeof columns);
#endif
}

// Packs B by its columns: row_of(column) is where the K elements of one lie, or null for zeros.
template <class Operand, class RowOf>
void pack_columns(Panels<Operand>& b, int64_t k, RowOf row_of) {
  for (int64_t column = 0; column < b.columns; column += kWidth) {
    const int64_t first = column / kPanel * kPanel, wide = b.width();
    float* to = b.data + first * b.steps + column - first;
    for (int64_t s = 0; s < b.steps; s += kWidth) {
      Float block[kWidth];
      for (int j = 0; j < kWidth; ++j) {
        const auto* row = column + j < b.columns ? row_of(column + j) : nullptr;
        block[j] = row ? steps_at<Operand>(row, s * kPerStep<Operand>, k) : all(0);
      }
      transpose(block);
      for (int64_t i = 0; i < least(b.steps - s, kWidth); ++i) store(to + (s + i) * wide, block[i]);
    }
  }
}

// Packs B from its transpose [N, K], as the weights of linear layers lie, with `stride` elements from row to row.
template <class Operand, class T>
void pack_transposed(Panels<Operand>& b, const T* from, int64_t stride, int64_t k) {
  pack_columns(b, k, [=](int64_t column) { return from + column * stride; });
}

// Packs rows `first` to `last` of B [K, N] from where `first` lies, with `stride` elements from row to row; `first`
// begins a step, and `last` ends one or is K.
template <class Operand, class T>
void pack_some_rows(Panels<Operand>& b, const T* from, int64_t stride, int64_t k, int64_t first, int64_t last) {
  from -= first * stride;
  const int64_t steps = last == k ? b.steps : last / kPerStep<Operand>;
  for (int64_t column = 0; column < b.columns; column += kPanel) {
    for (int64_t s = first / kPerStep<Operand>; s < steps; ++s) {
      float* to = b.data + column * b.steps + s * b.width();
      for (int64_t j = 0; j < b.vecs(column) * kWidth; j += kWidth, to += kWidth) {
        const int64_t live = least(b.columns - column - j, kWidth);
        const T* row = from + s * kPerStep<Operand> * stride + column + j;
        if constexpr (sizeof(Operand) == 4) {
          store(to, load(row, live));
        } else {  // the bfloat16 of two rows side by side: widened, the first is shifted back down
          const Uint even = 2 * s < k ? (Uint)load(row, live) >> 16 : Uint{};
          const Uint odd = 2 * s + 1 < k ? (Uint)load(row + stride, live) : Uint{};
          store(to, (Float)(even | odd));
        }
      }
    }
  }
}

// Packs B from [K, N] as it is, with `stride` elements from row to row.
template <class Operand, class T>
void pack_rows(Panels<Operand>& b, const T* from, int64_t stride, int64_t k) {
  pack_some_rows(b, from, stride, k, 0, k);
}

// Rows as operands, `stride` elements from row to row and, but for levels, zeros up to the end of the last steps.
template <class Operand>
struct Rows {
  const Operand* data;
  int64_t stride;
  const float* scales;  // of levels, one a row
};

// Where rows [rows, size] of T become operands; nothing where they are that as they lie.
template <class Operand>
struct Room {
  Operand* data;
  float* scales;
};

template <class Operand, class T>
bool are_operands(int64_t size) {
  return std::is_same_v<Operand, T> && size % (kStepsAtOnce * kPerStep<Operand>) == 0;
}

template <class Operand>
int64_t padded_row(int64_t size) {
  return round_up(size, kWidth * kPerStep<Operand>);
}

template <class Operand, class T>
Room<Operand> take_room(Scratch& scratch, int64_t rows, int64_t size) {
  if (are_operands<Operand, T>(size)) return {};
  return {take<Operand>(scratch, rows * padded_row<Operand>(size)), take<float>(scratch, rows)};
}

template <class Operand, class T>
Rows<Operand> operands(const T* from, int64_t from_stride, int64_t rows, int64_t size, const Room<Operand>& room) {
  if constexpr (std::is_same_v<Operand, T>)
    if (are_operands<Operand, T>(size)) return {from, from_stride, nullptr};
  const int64_t stride = padded_row<Operand>(size);
  for (int64_t i = 0; i < rows; ++i) {
    if constexpr (std::is_same_v<Operand, Level>) {
      room.scales[i] = quantize(from + i * from_stride, size, room.data + i * stride);
    } else {
      for (int64_t k = 0; k < size; k += kWidth * kPerStep<Operand>) {
        const Float steps = steps_at<Operand>(from + i * from_stride, k, size);
        std::memcpy(room.data + i * stride + k, &steps, sizeof steps);
      }
    }
  }
  return {room.data, stride, room.scales};
}

inline Float multiply_add(const float* a, Float b, Float c) { return fma(all(*a), b, c); }
#if defined(__AVX512BF16__)
inline Float multiply_add(const Bf16* a, Float b, Float c) {
  int32_t two;
  std::memcpy(&two, a, sizeof two);
  return _mm512_dpbf16_ps(c, (__m512bh)_mm512_set1_epi32(two), (__m512bh)b);
}
#endif

#if defined(__AMX_TILE__)
// c [rows, kPanel or less] = a [rows, K] times the panel of b at `column`; sums that are integers as the bits that they
// have.
template <class Operand>
void block(const Operand* a, int64_t a_stride, int64_t rows, const Panels<Operand>& b, int64_t column, float* c,
           int64_t c_stride) {
  constexpr decltype(&multiply_tiles<true, 2, Operand>) tiles[2][2] = {
      {multiply_tiles<false, 1, Operand>, multiply_tiles<false, 2, Operand>},
      {multiply_tiles<true, 1, Operand>, multiply_tiles<true, 2, Operand>}};
  if (rows < kRows) set_tiles(rows);
  tiles[rows > kTileRows][b.vecs(column) - 1](a, a_stride, b.panel(column), b.width(), b.steps, c, c_stride);
  if (rows < kRows) set_tiles(kRows);
}
#else
// a [rows, K] times one panel, in registers.
template <int rows, int vecs, class Operand>
inline __attribute__((always_inline)) void products(const Operand* __restrict a, int64_t a_stride,
                                                    const float* __restrict b, int64_t b_stride, int64_t steps,
                                                    Sum<Operand> (&sums)[rows][vecs]) {
#pragma GCC unroll kStepsATurn
  for (int64_t s = 0; s < steps; ++s, a += kPerStep<Operand>, b += b_stride) {
    Float columns[vecs];
#pragma GCC unroll 8
    for (int j = 0; j < vecs; ++j) columns[j] = load(b + j * kWidth);
#pragma GCC unroll 8
    for (int i = 0; i < rows; ++i)
#pragma GCC unroll 8
      for (int j = 0; j < vecs; ++j) sums[i][j] = multiply_add(a + i * a_stride, columns[j], sums[i][j]);
  }
}

// c [rows, vecs * kWidth] = a [rows, K] times one panel; sums that are integers as the bits that they have.
template <int rows, int vecs, class Operand>
void tile(const Operand* __restrict a, int64_t a_stride, const float* __restrict b, int64_t b_stride, int64_t steps,
          float* __restrict c, int64_t c_stride) {
  Sum<Operand> sums[rows][vecs] = {};
  products<rows, vecs>(a, a_stride, b, b_stride, steps, sums);
#pragma GCC unroll 8
  for (int i = 0; i < rows; ++i)
#pragma GCC unroll 8
    for (int j = 0; j < vecs; ++j) store(c + i * c_stride + j * kWidth, (Float)sums[i][j]);
}

template <class Operand>
using Tile = void (*)(const Operand*, int64_t, const float*, int64_t, int64_t, float*, int64_t);

template <int rows, class Operand>
Tile<Operand> tile_of(int vecs) {
#if defined(__AVX512F__)
  constexpr Tile<Operand> tiles[] = {tile<rows, 1, Operand>, tile<rows, 2, Operand>, tile<rows, 3, Operand>,
                                     tile<rows, 4, Operand>};
#else
  constexpr Tile<Operand> tiles[] = {tile<rows, 1, Operand>, tile<rows, 2, Operand>};
#endif
  return tiles[vecs - 1];
}

template <class Operand>
Tile<Operand> tile_of(int64_t rows, int vecs) {  // one of kRows at most
  switch (rows) {
    case 1:
      return tile_of<1, Operand>(vecs);
    case 2:
      return tile_of<2, Operand>(vecs);
    case 3:
      return tile_of<3, Operand>(vecs);
    case 4:
      return tile_of<4, Operand>(vecs);
    case 5:
      return tile_of<5, Operand>(vecs);
    default:
      return tile_of<kRows, Operand>(vecs);
  }
}

template <class Operand>
void block(const Operand* a, int64_t a_stride, int64_t rows, const Panels<Operand>& b, int64_t column, float* c,
           int64_t c_stride) {
  tile_of<Operand>(rows, b.vecs(column))(a, a_stride, b.panel(column), b.width(), b.steps, c, c_stride);
}
#endif

// The int32 sums of each column of quantized weights, times kLift: what levels that are so much too high add up to.
inline const float* take_lifts(Scratch& scratch, const Panels<Level>& b) {
  Level lifts[kPerStep<Level>];
  for (Level& lift : lifts) lift = static_cast<Level>(kLift);
  float* to = take<float>(scratch, round_up(b.columns, kWidth));
  for (int64_t column = 0; column < b.columns; column += kPanel) {
    for (int64_t j = 0; j < b.vecs(column) * kWidth; j += kWidth) {
      const float* from = b.panel(column) + j;
      Int total{};
      for (int64_t s = 0; s < b.steps; ++s) total = multiply_add(lifts, load(from + s * b.width()), total);
      store(to + column + j, (Float)total);
    }
  }
  return to;
}

// Calls epilogue(row, column, vectors) for every kWidth columns of a few rows from `row` on, kAtOnce or one, of
// a [rows, K] times B. Lanes from N on hold zeros.
template <class Operand, class Epilogue>
inline void multiply(const Operand* a, int64_t a_stride, int64_t rows, const Panels<Operand>& b, Epilogue epilogue) {
  alignas(64) float c[kRows * kPanel];
  for (int64_t column = 0; column < b.columns; column += kPanel)
    for (int64_t row = 0; row < rows; row += kRows) {
      block(a + row * a_stride, a_stride, least(rows - row, kRows), b, column, c, kPanel);
      const int count = static_cast<int>(least(rows - row, kRows)), vecs = b.vecs(column);
      for (int j = 0; j < vecs; ++j) {
        int i = 0;
        for (; i + kAtOnce <= count; i += kAtOnce) {
          Float vectors[kAtOnce];
#pragma GCC unroll 8
          for (int r = 0; r < kAtOnce; ++r) vectors[r] = load(c + (i + r) * kPanel + j * kWidth);
          epilogue(row + i, column + j * kWidth, vectors);
        }
        for (; i < count; ++i) {
          Float vectors[] = {load(c + i * kPanel + j * kWidth)};
          epilogue(row + i, column + j * kWidth, vectors);
        }
      }
    }
}

// An epilogue for vectors of several rows from one for a row.
template <class Epilogue>
auto by_row(Epilogue epilogue) {
  return [=](int64_t row, int64_t column, auto& vectors) __attribute__((always_inline)) {
#pragma GCC unroll 8
    for (const Float& vector : vectors) epilogue(row++, column, vector);
  };
}

}  // namespace
}  // namespace AEDMAE_ISA
}  // namespace aedmae
