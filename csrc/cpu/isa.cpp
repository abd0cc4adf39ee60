#include "isa.h"

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <stdexcept>

#if defined(__x86_64__) && defined(__linux__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace aedmae {
namespace {

// Why the tiles of AMX are not to be had; empty where they are. Linux has to be asked for them, once a process.
std::string refuse_tiles() {
#if defined(__x86_64__) && defined(__linux__)
  constexpr long kRequest = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  constexpr unsigned kFeatures = 1u << 22 | 1u << 24 | 1u << 25;  // AMX-BF16, AMX-TILE, AMX-INT8
  unsigned eax, ebx, ecx, edx;
  if (!__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) || (edx & kFeatures) != kFeatures)
    return "the CPU has none, or the system hides it";
  if (syscall(SYS_arch_prctl, kRequest, kTileData) != 0)
    return std::string("the system refuses it to this process: ") + std::strerror(errno);
  return "";
#else
  return "used on x86_64 and Linux only";
#endif
}

const std::vector<Kernels>& available() {
  static const std::vector<Kernels> tables = [] {
    std::vector<Kernels> found{{"base", base::frame_prep_rows, base::smooth_max_kernels, base::motion_kernels,
                                base::network_f32, base::network_bf16, base::int8_f32, base::int8_bf16}};
#if defined(__x86_64__)
    __builtin_cpu_init();
    const bool has_avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    const bool has_avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                            __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
    const bool has_vnni = has_avx512 && __builtin_cpu_supports("avx512vnni");
    const bool has_bf16 = has_vnni && __builtin_cpu_supports("avx512vbmi") && __builtin_cpu_supports("avx512bf16");
    // Intel's vdpbf16ps takes longer than the two multiply-adds in float32 that it stands for: on an Emerald Rapids one
    // thread has 70 to 83 GFLOP/s in the network's operations, and 105 to 145 with bfloat16 widened.
    const bool bf16_is_slow = __builtin_cpu_is("intel");
    const auto add_bf16 = [&] {
      found.push_back({"avx512_bf16", avx512::frame_prep_rows, avx512::smooth_max_kernels, avx512::motion_kernels,
                       avx512::network_f32, avx512_bf16::network_bf16, avx512_vnni::int8_f32,
                       avx512_bf16::int8_bf16});
    };
    if (has_avx2)
      found.push_back({"avx2", avx2::frame_prep_rows, avx2::smooth_max_kernels, avx2::motion_kernels,
                       avx2::network_f32, avx2::network_bf16, avx2::int8_f32, avx2::int8_bf16});
    if (has_avx512)
      found.push_back({"avx512", avx512::frame_prep_rows, avx512::smooth_max_kernels, avx512::motion_kernels,
                       avx512::network_f32, avx512::network_bf16, avx512::int8_f32, avx512::int8_bf16});
    if (has_bf16 && bf16_is_slow) add_bf16();
    if (has_vnni)
      found.push_back({"avx512_vnni", avx512::frame_prep_rows, avx512::smooth_max_kernels, avx512::motion_kernels,
                       avx512::network_f32, avx512::network_bf16, avx512_vnni::int8_f32, avx512_vnni::int8_bf16});
    if (has_bf16 && !bf16_is_slow) add_bf16();
    if (has_bf16 && why_no_amx().empty())
      found.push_back({"amx", avx512::frame_prep_rows, avx512::smooth_max_kernels, avx512::motion_kernels,
                       avx512::network_f32, amx::network_bf16, amx::int8_f32, amx::int8_bf16});
#endif
    return found;
  }();
  return tables;
}

const Kernels* find(const std::string& isa) {
  if (isa == "auto") return &available().back();
  for (const Kernels& table : available())
    if (isa == table.isa) return &table;
  std::string names;
  for (const Kernels& table : available()) names += std::string(" ") + table.isa;
  throw std::invalid_argument("CPU instruction set '" + isa +
                              "' is not to be had; this build and this CPU have:" + names + " (or auto)");
}

std::atomic<const Kernels*> current{nullptr};  // null until it is first asked for

const Kernels& settle(const Kernels* table) {
  const Kernels* none = nullptr;
  current.compare_exchange_strong(none, table);  // what another thread has forced meanwhile stays
  return *current;
}

}  // namespace

const std::string& why_no_amx() {
  static const std::string reason = refuse_tiles();
  return reason;
}

const Kernels& kernels() {
  if (const Kernels* table = current) return *table;
  const char* forced = std::getenv("AEDMAE_CPU_ISA");
  return settle(find(forced && *forced ? forced : "auto"));
}

void choose_isa() {
  try {
    kernels();
  } catch (const std::invalid_argument&) {
    settle(find("auto"));
  }
}

void set_isa(const std::string& isa) { current = find(isa); }

std::vector<std::string> isas() {
  std::vector<std::string> names;
  for (const Kernels& table : available()) names.emplace_back(table.isa);
  return names;
}

}  // namespace aedmae
