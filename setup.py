"""Builds what is native; everything else about the package is in pyproject.toml.

``libaedmae_fast.so``, the CPU kernels, and ``aedmae_fast._cpu``, Python's way to them, are always built,
``aedmae_fast._cuda`` where nvcc is found. None needs torch: they take raw addresses; the library needs no Python
either, so that any program can link it (aedmae_fast/include). Environment:

    AEDMAE_CUDA        auto (default): build _cuda if nvcc is found; 1: fail if it is not; 0: never
    AEDMAE_CUDA_ARCHS  compute capabilities, default "80;90"; PTX of the highest is added for later GPUs
    CUDA_HOME          the toolkit, if nvcc is not on PATH

``python -m aedmae_fast.env`` shows what was built and why.
"""

import json
import os
import platform
import re
import shlex
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from runpy import run_path

from pybind11.setup_helpers import ParallelCompile, Pybind11Extension, build_ext
from setuptools import Extension, setup
from setuptools.errors import CompileError

LIBRARY = "aedmae_fast.libaedmae_fast"
HEADERS = sorted(str(path) for folder in ("csrc", "aedmae_fast/include") for path in Path(folder).rglob("*.h"))
CXX_FLAGS = ["-O3", "-Wall", "-Wextra"]
AVX512 = ["-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq"]
AVX512_BF16 = [*AVX512, "-mavx512vnni", "-mavx512vbmi", "-mavx512bf16"]
ISA_FLAGS = {  # by the end of a source's name; all other sources are compiled for the baseline
    "_avx2": ["-mavx2", "-mfma"],
    "_avx512": AVX512,
    "_avx512_vnni": [*AVX512, "-mavx512vnni"],
    "_avx512_bf16": AVX512_BF16,
    "_amx": [*AVX512_BF16, "-mamx-tile", "-mamx-bf16", "-mamx-int8"],
}
ROOT = Path(__file__).parent
SOURCES = run_path(str(ROOT / "aedmae_fast/sources.py"))["fingerprint"](ROOT)  # the package itself would import torch
OLDEST_COMPILERS = "expected gcc 11 or clang 12 or a later one; CXX and CC choose it"


@dataclass
class Cuda:
    """How to build _cuda: ``nvcc`` is empty, and ``reason`` says why, where it cannot or must not be built."""

    nvcc: str = ""
    reason: str = ""
    archs: list[str] = field(default_factory=list)
    include_dirs: list[str] = field(default_factory=list)
    library_dirs: list[str] = field(default_factory=list)

    @property
    def status(self) -> str:
        if not self.nvcc:
            return f"not built: {self.reason}"
        return f"built for {', '.join(f'sm_{arch}' for arch in self.archs)} + PTX"

    @property
    def nvcc_flags(self) -> list[str]:
        codes = [(arch, f"sm_{arch}") for arch in self.archs] + [(self.archs[-1], f"compute_{self.archs[-1]}")]
        return ["-O3", "-std=c++17", "-Xcompiler", "-fPIC", "-Xcompiler", "-fvisibility=hidden"] + [
            f"-gencode=arch=compute_{arch},code={code}" for arch, code in codes
        ]


def find_cuda(env: Mapping[str, str] = os.environ) -> Cuda:
    """The CUDA toolkit to build with, as the environment asks for it.

    Raises:
        SystemExit: AEDMAE_CUDA or AEDMAE_CUDA_ARCHS is malformed, or AEDMAE_CUDA=1 and no nvcc works.
    """
    wish = env.get("AEDMAE_CUDA") or "auto"
    if wish not in ("auto", "0", "1"):
        raise SystemExit(f"AEDMAE_CUDA must be auto, 0 or 1, found {wish!r}")
    if wish == "0":
        return Cuda(reason="AEDMAE_CUDA=0 was set")
    archs = re.split(r"[;, ]+", env.get("AEDMAE_CUDA_ARCHS") or "80;90")
    if not all(arch.isdigit() for arch in archs):
        raise SystemExit(f"AEDMAE_CUDA_ARCHS must look like '80;90', found {env['AEDMAE_CUDA_ARCHS']!r}")
    home = env.get("CUDA_HOME")
    nvcc = shutil.which("nvcc", path=f"{home}/bin" if home else env.get("PATH", ""))
    cuda = dry_run(nvcc) if nvcc else Cuda(reason=f"nvcc was not found in {home + '/bin' if home else 'PATH'}")
    if wish == "1" and not cuda.nvcc:
        raise SystemExit(f"AEDMAE_CUDA=1, but {cuda.reason}")
    cuda.archs = sorted(archs, key=int)
    return cuda


def dry_run(nvcc: str) -> Cuda:
    """Asks nvcc for its toolkit's folders: nvcc may be a wrapper, far from the toolkit."""
    run = subprocess.run([nvcc, "--dryrun", "-x", "cu", os.devnull], capture_output=True, text=True, check=False)
    if run.returncode:
        last = (run.stderr + run.stdout).strip().rpartition("\n")[2]
        return Cuda(reason=f"{nvcc} --dryrun fails: {last}")
    said = dict(re.findall(r"^#\$ (\w+)=(.*)$", run.stderr, re.MULTILINE))
    flags = shlex.split(said.get("INCLUDES", "")) + shlex.split(said.get("LIBRARIES", ""))
    return Cuda(
        nvcc=nvcc,
        include_dirs=[flag[2:] for flag in flags if flag.startswith("-I")],
        library_dirs=[flag[2:] for flag in flags if flag.startswith("-L")],
    )


def extensions(cuda: Cuda) -> list[Extension]:
    """The library of CPU kernels, _cpu, and _cuda where it can be built."""
    x86 = platform.machine() in ("x86_64", "AMD64")
    sources = [path for path in Path("csrc/cpu").glob("*.cpp") if x86 or not path.stem.endswith(tuple(ISA_FLAGS))]
    kernels = sorted(str(path) for path in sources if not path.stem.endswith("bindings"))
    bindings = sorted(str(path) for path in sources if path.stem.endswith("bindings"))
    module = {"cxx_std": 17, "depends": HEADERS, "extra_compile_args": CXX_FLAGS}
    built = [
        Extension(
            LIBRARY,
            kernels,
            include_dirs=["aedmae_fast/include"],
            extra_compile_args=["-std=c++17", "-g0", *CXX_FLAGS],
            extra_link_args=["-Wl,-soname,libaedmae_fast.so", "-Wl,--no-undefined"],
            depends=HEADERS,
            language="c++",
        ),
        Pybind11Extension(
            "aedmae_fast._cpu",
            bindings,
            define_macros=[  # JSON's quoting is also C's
                ("AEDMAE_CUDA_STATUS", json.dumps(cuda.status)),
                ("AEDMAE_SOURCES", json.dumps(SOURCES)),
            ],
            libraries=["aedmae_fast"],
            extra_link_args=["-Wl,-rpath,$ORIGIN"],
            **module,
        ),
    ]
    if cuda.nvcc:
        built.append(
            Pybind11Extension(
                "aedmae_fast._cuda",
                sorted(map(str, Path("csrc/cuda").glob("*.c*"))),
                define_macros=[("AEDMAE_CUDA_ARCHS", f'"{" ".join(cuda.archs)}"')],
                include_dirs=cuda.include_dirs,
                library_dirs=cuda.library_dirs,
                libraries=["cudart_static", "rt", "dl", "pthread"],
                **module,
            )
        )
    return built


class BuildExt(build_ext):
    """Compiles .cu with nvcc and ``*_avx2.cpp`` and the like with their own flags."""

    cuda = Cuda(reason="find_cuda was not asked")

    def finalize_options(self) -> None:
        super().finalize_options()
        self.force = True  # setuptools cannot see that flags or the environment changed

    def get_ext_filename(self, fullname: str) -> str:
        path = Path(super().get_ext_filename(fullname))
        plain = f"{LIBRARY.rpartition('.')[2]}.so"  # no Python module: nothing of Python's ABI in its name
        return str(path.with_name(plain)) if path.name.startswith(plain.removesuffix("so")) else str(path)

    def run(self) -> None:
        if not self.cuda.nvcc:
            self.remove_stale()
        super().run()

    def remove_stale(self) -> None:
        """pip builds in the source tree: a _cuda of an earlier build must not get into a CPU-only one."""
        name = self.get_ext_filename("aedmae_fast._cuda")
        for folder in [self.build_lib] + ["."] * bool(self.inplace):
            path = Path(folder, name)
            if path.exists():
                print(f"aedmae_fast: removing {path} of an earlier build")
                path.unlink()

    def compile_cuda(self, args: list[str]) -> None:
        try:
            self.spawn([self.cuda.nvcc, *self.cuda.nvcc_flags, *args])
        except Exception as error:
            hint = "AEDMAE_CUDA_ARCHS chooses other GPUs, AEDMAE_CUDA=0 builds without CUDA kernels"
            raise CompileError(f"{error} ({hint})") from error

    def build_extensions(self) -> None:
        self.compiler.src_extensions.append(".cu")
        self.compiler.add_library_dir(str(Path(self.build_lib, "aedmae_fast")))
        compile_cxx = self.compiler._compile

        def compile_one(obj, src, ext, cc_args, postargs, pp_opts):  # type: ignore[no-untyped-def]
            if ext == ".cu":
                self.compile_cuda([*pp_opts, "-c", src, "-o", obj])
            else:
                isa = [flag for end, flags in ISA_FLAGS.items() if Path(src).stem.endswith(end) for flag in flags]
                try:
                    compile_cxx(obj, src, ext, cc_args, [*postargs, *isa], pp_opts)
                except CompileError as error:
                    if isa:
                        raise CompileError(f"{error} ({OLDEST_COMPILERS}, for {' '.join(isa)})") from error
                    raise

        self.compiler._compile = compile_one
        super().build_extensions()


def require_linux(system: str = platform.system()) -> None:
    """The linker's flags are GNU ld's, and the package asks /proc and resource."""
    if system != "Linux":
        raise SystemExit(f"aedmae_fast builds and runs on Linux only, found {system}")


if __name__ == "__main__":
    require_linux()
    BuildExt.cuda = find_cuda()
    print(f"aedmae_fast: CPU kernels are built; CUDA kernels: {BuildExt.cuda.status}")
    ParallelCompile(default=0, max=4).install()
    setup(ext_modules=extensions(BuildExt.cuda), cmdclass={"build_ext": BuildExt})
