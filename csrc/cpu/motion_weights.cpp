#include "motion_weights.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "isa.h"

namespace aedmae {
namespace {

const uint8_t* row_of(const Frames& f, int64_t frame, int64_t y) {
  return f.data + frame * f.frame_stride + y * f.row_stride;
}

// The two frames whose difference is the gradient of frame t; one that does not exist is t itself.
std::pair<int32_t, int32_t> neighbours(const Frames& f, int32_t t, int32_t span) {
  return {std::max(t - 1, 0), span == 2 ? std::min(t + 1, f.count - 1) : t};
}

// The largest byte of every patch in a row of patches, channel by channel.
class PatchPeaks {
 public:
  PatchPeaks(const Frames& f, int32_t patch)
      : channels_(f.channels),
        patch_(patch),
        bytes_(int64_t{f.width} * f.channels),
        columns_(bytes_),
        spare_(bytes_) {}

  uint8_t* columns() { return columns_.data(); }  // [width, channels]: the largest byte of each column, to be filled
  void clear() { std::fill(columns_.begin(), columns_.end(), 0); }

  // Takes the maximum along x too, by doubling; then at(j) [channels] are the peaks of patch j.
  void finish(const MotionKernels& k) {
    for (int32_t done = 1; done < patch_;) {
      const int32_t step = std::min(done, patch_ - done);
      const int64_t ahead = int64_t{step} * channels_;
      k.larger(columns_.data(), columns_.data() + ahead, bytes_ - ahead, spare_.data());
      columns_.swap(spare_);
      done += step;
    }
  }

  const uint8_t* at(int32_t j) const { return columns_.data() + int64_t{j} * patch_ * channels_; }

  uint32_t sum(int32_t j) const {
    uint32_t total = 0;
    for (int32_t c = 0; c < channels_; ++c) total += at(j)[c];
    return total;
  }

 private:
  int32_t channels_, patch_;
  int64_t bytes_;
  std::vector<uint8_t> columns_, spare_;
};

// m_i / sum of m, from m_i times the channels: exact integers. No motion: uniform.
void normalise(const std::vector<uint32_t>& motion, float* out) {
  uint64_t total = 0;
  for (const uint32_t m : motion) total += m;
  for (size_t i = 0; i < motion.size(); ++i)
    out[i] = static_cast<float>(total ? static_cast<double>(motion[i]) / static_cast<double>(total)
                                      : 1.0 / static_cast<double>(motion.size()));
}

// A frame's anomaly map beside its gradient. The map's strength, which is added wherever the map is above 0, is at
// least any gradient of the sample: the peak of a patch with an anomaly is the strength plus the peak beneath it.
class Anomaly {
 public:
  Anomaly(const Frames& f, const AnomalyMaps& maps, int32_t patch)
      : maps_(maps),
        patch_(patch),
        width_(f.width),
        channels_(f.channels),
        under_(f, patch),
        mask_(width_ * channels_) {
    const size_t patches = int64_t{f.height / patch} * (f.width / patch);
    touched_.resize(patches), peaks_.resize(patches);
  }

  void start(int64_t frame) {
    frame_ = maps_.data + frame * maps_.frame_stride;
    std::fill(touched_.begin(), touched_.end(), 0);
    strength_ = 128;
  }

  // Row y of a row of patches whose first patch is number `first`.
  void row(const MotionKernels& k, int64_t y, int32_t first, const uint8_t* gradient) {
    const uint8_t* const map = frame_ + y * maps_.row_stride;
    if (!std::any_of(map, map + width_, [](uint8_t v) { return v != 0; })) return;
    uint8_t* mask = mask_.data();
    for (int32_t j = 0, x = 0; x < width_; ++j) {
      for (const int32_t end = x + patch_; x < end; ++x) {
        const uint8_t bits = map[x] ? 255 : 0;
        touched_[first + j] |= bits;
        for (int32_t c = 0; c < channels_; ++c) *mask++ = bits;
      }
    }
    k.peak_where(gradient, mask_.data(), width_ * channels_, under_.columns());
  }

  void finish_row(const MotionKernels& k, int32_t first, const PatchPeaks& peaks) {
    under_.finish(k);
    for (int32_t j = 0; j < width_ / patch_; ++j) {
      peaks_[first + j] = under_.sum(j);
      strength_ = std::max<uint32_t>(strength_, *std::max_element(peaks.at(j), peaks.at(j) + channels_));
    }
    under_.clear();
  }

  void add(std::vector<uint32_t>& motion) const {
    for (size_t i = 0; i < motion.size(); ++i)
      if (touched_[i]) motion[i] = peaks_[i] + strength_ * static_cast<uint32_t>(channels_);
  }

 private:
  AnomalyMaps maps_;
  int32_t patch_;
  int64_t width_, channels_;
  const uint8_t* frame_ = nullptr;
  uint32_t strength_ = 0;
  PatchPeaks under_;              // of the gradient, 0 where there is no anomaly
  std::vector<uint8_t> mask_;     // one row: 255 or 0 for each byte of the gradient
  std::vector<uint8_t> touched_;  // patches with an anomaly
  std::vector<uint32_t> peaks_;   // their peaks, summed over channels
};

// rows(t, y) gives the two rows whose difference is row y of frame t's gradient.
template <class Rows>
void weights(const Frames& f, int32_t patch, Anomaly* anomaly, Rows rows, float* out) {
  const MotionKernels& k = kernels().motion;
  const int32_t across = f.width / patch;
  const int64_t bytes = int64_t{f.width} * f.channels;
  std::vector<uint32_t> motion(int64_t{f.height / patch} * across);
  PatchPeaks peaks(f, patch);
  for (int32_t t = 0; t < f.count; ++t) {
    if (anomaly) anomaly->start(t);
    for (int32_t first = 0, y = 0; y < f.height; first += across) {
      peaks.clear();
      for (const int32_t end = y + patch; y < end; ++y) {
        const auto [a, b] = rows(t, y);
        k.peak(a, b, bytes, peaks.columns());
        if (anomaly) anomaly->row(k, y, first, a);
      }
      peaks.finish(k);
      for (int32_t j = 0; j < across; ++j) motion[first + j] = peaks.sum(j);
      if (anomaly) anomaly->finish_row(k, first, peaks);
    }
    if (anomaly) anomaly->add(motion);
    normalise(motion, out + t * motion.size());
  }
}

}  // namespace

void motion_gradient_cpu(const Frames& f, int32_t span, uint8_t* out) {
  const int64_t bytes = int64_t{f.width} * f.channels;
  for (int32_t t = 0; t < f.count; ++t) {
    const auto [before, after] = neighbours(f, t, span);
    for (int32_t y = 0; y < f.height; ++y, out += bytes)
      kernels().motion.difference(row_of(f, before, y), row_of(f, after, y), bytes, out);
  }
}

void motion_weights_cpu(const Frames& f, int32_t span, int32_t patch, float* out) {
  const auto rows = [&](int32_t t, int32_t y) {
    const auto [before, after] = neighbours(f, t, span);
    return std::pair(row_of(f, before, y), row_of(f, after, y));
  };
  weights(f, patch, nullptr, rows, out);
}

void patch_weights_cpu(const Frames& gradient, const AnomalyMaps& maps, int32_t patch, float* out) {
  const std::vector<uint8_t> zeros(int64_t{gradient.width} * gradient.channels);  // |g - 0| = g
  const auto rows = [&](int32_t t, int32_t y) { return std::pair(row_of(gradient, t, y), zeros.data()); };
  if (!maps.data) return weights(gradient, patch, nullptr, rows, out);
  Anomaly anomaly(gradient, maps, patch);
  weights(gradient, patch, &anomaly, rows, out);
}

}  // namespace aedmae
