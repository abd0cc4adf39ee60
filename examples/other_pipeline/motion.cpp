// A C++ program that links the kernels: raw BGR frames on stdin, the patch that moves most of each on stdout.
//
//   include=$(python -c "import aedmae_fast as a; print(a.get_include())")
//   library=$(python -c "import aedmae_fast as a; print(a.get_library_dir())")
//   g++ -std=c++17 -O2 examples/other_pipeline/motion.cpp -I$include -L$library -laedmae_fast -Wl,-rpath,$library
//   ffmpeg -i video.mp4 -vf scale=320:160 -f rawvideo -pix_fmt bgr24 - | ./a.out 320 160 8
#include <aedmae_fast/cpu.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <vector>

int main(int argc, char** argv) {
  if (argc != 4) {
    std::fprintf(stderr, "usage: %s WIDTH HEIGHT PATCH < frames.bgr24\n", argv[0]);
    return 2;
  }
  if (aedmae_abi() != AEDMAE_FAST_ABI) {
    std::fprintf(stderr, "compiled for ABI %d, but the library found has %d\n", AEDMAE_FAST_ABI, aedmae_abi());
    return 2;
  }
  const int width = std::atoi(argv[1]), height = std::atoi(argv[2]), patch = std::atoi(argv[3]);
  if (width < 1 || height < 1 || patch < 1 || width % patch || height % patch) {
    std::fprintf(stderr, "expected WIDTH and HEIGHT in whole patches, found %dx%d and %d\n", width, height, patch);
    return 2;
  }
  std::fprintf(stderr, "instruction set: %s\n", aedmae_isa());
  const size_t size = size_t{3} * width * height;
  std::vector<uint8_t> pair(2 * size);  // the frame before, and this one
  std::vector<float> weights(2 * (height / patch) * (width / patch));
  const size_t tokens = weights.size() / 2;
  const aedmae_frames frames{pair.data(), static_cast<int64_t>(size), int64_t{3} * width, 2, height, width, 3};
  for (int t = 0; std::fread(pair.data() + size, 1, size, stdin) == size; ++t) {
    if (t == 0) std::copy_n(pair.data() + size, size, pair.data());
    aedmae_motion_weights(&frames, 1, patch, weights.data());  // each frame against the one before it
    const float* const now = weights.data() + tokens;
    const int most = static_cast<int>(std::max_element(now, now + tokens) - now), across = width / patch;
    std::printf("%d %d %d %.6f\n", t, most / across * patch, most % across * patch, now[most]);
    std::copy_n(pair.data() + size, size, pair.data());
  }
  return 0;
}
