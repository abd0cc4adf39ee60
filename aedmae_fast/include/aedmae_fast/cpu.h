/* aedmae_fast/cpu.h: the CPU kernels of aedmae_fast on raw addresses, for C and C++.
 *
 * Python's `aedmae_fast.get_include()` and `aedmae_fast.get_library_dir()` say where this header and the library lie:
 *
 *     g++ program.cpp -I$INCLUDE -L$LIBRARY -laedmae_fast -Wl,-rpath,$LIBRARY
 *
 * Every function runs on the calling thread alone and may be called from many threads at once. Formulas, units and
 * ranges are those of the Python op of the same name (aedmae_fast/ops). Nothing is checked: sizes are positive, height
 * and width are whole multiples of the patch, memory is as large as the sizes say, and the result overlaps no argument.
 * Functions keep their signatures and structs their fields as long as AEDMAE_FAST_ABI is the same. A program compiled
 * with this header may find another library at run time: aedmae_abi() == AEDMAE_FAST_ABI says that they belong
 * together.
 */
#ifndef AEDMAE_FAST_CPU_H
#define AEDMAE_FAST_CPU_H

#include <stdint.h>

#define AEDMAE_FAST_ABI 1

#define AEDMAE_FAST_API __attribute__((visibility("default")))

#ifdef __cplusplus
extern "C" {
#endif

/* AEDMAE_FAST_ABI of the header that the library was built with. */
AEDMAE_FAST_API int aedmae_abi(void);

/* The instruction set in force: the best that this CPU has, or what AEDMAE_CPU_ISA in the environment says. What that
 * names and is not to be had counts for nothing; this function then tells the best. */
AEDMAE_FAST_API const char* aedmae_isa(void);

/* Forces an instruction set ("base", "avx2", ..., or "auto") in the whole process: 0, or -1 if it is not to be had. */
AEDMAE_FAST_API int aedmae_set_isa(const char* isa);

/* Frames as decoded -> BGR at another size, in one pass. Strides are in bytes, and any will do: packed formats are
 * planes whose samples take turns (NV12: U and V 2 bytes apart; YCbCr 4:4:4 and BGR: all three 3 bytes apart). */
typedef struct {
  const uint8_t* plane[3]; /* Y, U, V; or Y alone; or B, G, R */
  int64_t frame_stride[3], row_stride[3], pixel_stride[3];
  int32_t planes;       /* 3, or 1 for grey */
  int32_t is_bgr;       /* 1: the planes are colours already */
  int32_t sub_y, sub_x; /* chroma sub-sampling, 1 or 2 */
  int32_t kr, kb;       /* luma weights of red and blue in units of 1e-4; BT.601: 2990, 1140; BT.709: 2126, 722 */
  int32_t full_range;   /* 0: Y in 16..235, chroma in 16..240; 1: both in 0..255 */
  int32_t count, height, width;
  int32_t out_height, out_width;
  int32_t bfloat16; /* what `out` points to: 0 uint8, 1 bfloat16 of the same levels, 0..255 */
  void* out;        /* [count, out_height, out_width, 3], contiguous */
} aedmae_planes;

AEDMAE_FAST_API void aedmae_frame_prep(const aedmae_planes* args);

/* Bytes, a row of [width, channels] contiguous; strides are in bytes. */
typedef struct {
  const uint8_t* data; /* [count, height, width, channels] */
  int64_t frame_stride, row_stride;
  int32_t count, height, width, channels;
} aedmae_frames;

/* |x_t - x_(t-1)| (span 1: the paper's) or |x_(t-1) - x_(t+1)| (span 2: the release's); a frame that does not exist is
 * frame t itself. out: [count, height, width, channels], contiguous. */
AEDMAE_FAST_API void aedmae_motion_gradient(const aedmae_frames* frames, int32_t span, uint8_t* out);

/* Token weights from the motion in each patch; each frame's sum to 1.
 * out: [count, height / patch * width / patch], rows first. */
AEDMAE_FAST_API void aedmae_motion_weights(const aedmae_frames* frames, int32_t span, int32_t patch, float* out);

/* The same from gradients. anomaly: [count, height, width] with channels 1, above 0 is abnormal; or NULL. */
AEDMAE_FAST_API void aedmae_patch_weights(const aedmae_frames* gradient, const aedmae_frames* anomaly, int32_t patch,
                                          float* out);

/* Teacher error and teacher-student gap at every pixel, from the decoders' last hidden states and their heads. */
typedef struct {
  const void *teacher, *student;               /* [batch, tokens, channels], channels contiguous */
  int64_t teacher_stride[2], student_stride[2]; /* of a frame and of a token, in elements */
  const void *teacher_weight, *student_weight; /* [4 * patch * patch, channels], contiguous */
  const void *teacher_bias, *student_bias;     /* [4 * patch * patch] */
  int32_t bfloat16;                            /* what the six above point to: 1 bfloat16, 0 float32 */
  int32_t channels, patch;
  aedmae_frames frames; /* batch = frames.count, 3 channels, BGR */
  int32_t squared;      /* 1: squared differences, 0: absolute ones */
  float weights[3];     /* of colour error, abnormality and gap in the map */
  float* map;           /* out: [batch, height, width] */
  float* means;         /* out: [batch, 3], the means of the three terms */
} aedmae_discrepancy;

AEDMAE_FAST_API void aedmae_discrepancy_map(const aedmae_discrepancy* args);

/* Mean over a window of (rows, columns), both odd, of the pixels that exist. row_stride in floats;
 * out: [height, width], contiguous. */
AEDMAE_FAST_API void aedmae_mean_filter(const float* image, int64_t row_stride, int32_t height, int32_t width,
                                        int32_t rows, int32_t columns, float* out);

/* The mean of `count` maps of `size` floats, added in the order given; and its maximum, NaN if it is NaN anywhere, with
   the first pixel that has it, unless `pixel` is null. */
AEDMAE_FAST_API void aedmae_mean_map(const float* const* maps, int32_t count, int64_t size, float* out);
AEDMAE_FAST_API float aedmae_mean_max(const float* const* maps, int32_t count, int64_t size, int64_t* pixel);

#ifdef __cplusplus
}
#endif

#endif
