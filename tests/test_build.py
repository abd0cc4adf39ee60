"""setup.py: what it builds and says for each wish, and that nothing stale or CPU-specific slips through."""

from __future__ import annotations

import importlib.util
import os
import shutil
import stat
import subprocess
import sys
import tarfile
from pathlib import Path
from types import ModuleType

import pytest
from setuptools import Distribution, Extension
from setuptools.errors import CompileError

from tests.ped2_tables import tables_of_the_bundled_weights

ROOT = Path(__file__).resolve().parents[1]
pytest.importorskip("pybind11", reason="a build requirement: pip install pybind11 setuptools")

DRYRUN = """#!/bin/sh
echo '#$ TOP=/toolkit' >&2
echo '#$ INCLUDES="-I/toolkit/targets/include"  ' >&2
echo '#$ LIBRARIES=  "-L/toolkit/targets/lib/stubs" "-L/toolkit/targets/lib"' >&2
"""


@pytest.fixture(scope="module")
def build() -> ModuleType:
    spec = importlib.util.spec_from_file_location("aedmae_setup", ROOT / "setup.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def fake_nvcc(folder: Path, script: str = DRYRUN) -> str:
    """A folder for PATH with an nvcc in it."""
    nvcc = folder / "bin" / "nvcc"
    nvcc.parent.mkdir()
    nvcc.write_text(script)
    nvcc.chmod(nvcc.stat().st_mode | stat.S_IXUSR)
    return str(nvcc.parent)


def test_auto_takes_the_nvcc_on_path_and_its_folders(build: ModuleType, tmp_path: Path) -> None:
    path = fake_nvcc(tmp_path)
    for env in ({"PATH": path}, {"PATH": "", "CUDA_HOME": str(tmp_path)}):
        cuda = build.find_cuda(env)
        assert cuda.nvcc == f"{path}/nvcc"
        assert cuda.include_dirs == ["/toolkit/targets/include"]
        assert cuda.library_dirs == ["/toolkit/targets/lib/stubs", "/toolkit/targets/lib"]
        assert cuda.status == "built for sm_80, sm_90 + PTX"


def test_archs_are_built_with_ptx_of_the_highest(build: ModuleType, tmp_path: Path) -> None:
    cuda = build.find_cuda({"PATH": fake_nvcc(tmp_path), "AEDMAE_CUDA_ARCHS": "100;86"})
    assert [flag for flag in cuda.nvcc_flags if "gencode" in flag] == [
        "-gencode=arch=compute_86,code=sm_86",
        "-gencode=arch=compute_100,code=sm_100",
        "-gencode=arch=compute_100,code=compute_100",
    ]


def test_auto_without_nvcc_says_why(build: ModuleType, tmp_path: Path) -> None:
    assert build.find_cuda({"PATH": str(tmp_path)}).status == "not built: nvcc was not found in PATH"
    broken = fake_nvcc(tmp_path, "#!/bin/sh\necho 'no toolkit here' >&2\nexit 1\n")
    assert build.find_cuda({"PATH": broken}).status == f"not built: {broken}/nvcc --dryrun fails: no toolkit here"


def test_zero_never_looks_for_nvcc(build: ModuleType, tmp_path: Path) -> None:
    cuda = build.find_cuda({"PATH": fake_nvcc(tmp_path), "AEDMAE_CUDA": "0"})
    assert not cuda.nvcc
    assert cuda.status == "not built: AEDMAE_CUDA=0 was set"


@pytest.mark.parametrize(
    ("wish", "match"),
    [
        ({"AEDMAE_CUDA": "1"}, "AEDMAE_CUDA=1, but nvcc was not found in PATH"),
        ({"AEDMAE_CUDA": "yes"}, "AEDMAE_CUDA must be auto, 0 or 1, found 'yes'"),
        ({"AEDMAE_CUDA_ARCHS": "sm_80"}, "AEDMAE_CUDA_ARCHS must look like '80;90', found 'sm_80'"),
    ],
)
def test_wishes_that_cannot_be_met_end_the_build(build: ModuleType, wish: dict[str, str], match: str) -> None:
    with pytest.raises(SystemExit, match=match):
        build.find_cuda({"PATH": "", **wish})


def test_other_systems_are_refused(build: ModuleType) -> None:
    build.require_linux()
    with pytest.raises(SystemExit, match="builds and runs on Linux only, found Darwin"):
        build.require_linux("Darwin")


def test_extensions(build: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    names = {nvcc: [e.name for e in build.extensions(build.Cuda(nvcc=nvcc, archs=["80"]))] for nvcc in ("", "nvcc")}
    cpu = ["aedmae_fast.libaedmae_fast", "aedmae_fast._cpu"]
    assert names == {"": cpu, "nvcc": [*cpu, "aedmae_fast._cuda"]}
    for machine, expected in (("x86_64", True), ("aarch64", False)):
        monkeypatch.setattr(build.platform, "machine", lambda machine=machine: machine)
        library, module = build.extensions(build.Cuda())
        assert any("avx512" in source for source in library.sources) is expected
        assert all(source.endswith("bindings.cpp") for source in module.sources)


def test_a_source_distribution_has_what_the_readmes_commands_need(tmp_path: Path) -> None:
    command = [sys.executable, "setup.py", "-q", "egg_info", "--egg-base", str(tmp_path), "sdist", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, env={**os.environ, "AEDMAE_CUDA": "0"}, check=True, capture_output=True)
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as file:
        packed = {name.partition("/")[2] for name in file.getnames()}
    files = (path for folder in ("csrc", "examples", "tests") for path in (ROOT / folder).rglob("*.*"))
    wanted = {path.relative_to(ROOT).as_posix() for path in files if path.parent.name != "__pycache__"}
    assert wanted | {"benchmarks/gpu_check.sh", "CHANGELOG.md"} <= packed
    results = {name.rpartition("/")[2] for name in packed if name.startswith("benchmarks/results/")}
    assert results >= {path.name for path in tables_of_the_bundled_weights()}  # which the test of Ped2 reads
    assert all(name.startswith("ped2-") for name in results)


def test_the_library_is_named_as_linkers_want_it(build: ModuleType) -> None:
    command = build.BuildExt(Distribution())
    assert command.get_ext_filename("aedmae_fast.libaedmae_fast") == "aedmae_fast/libaedmae_fast.so"
    assert command.get_ext_filename("libaedmae_fast") == "libaedmae_fast.so"
    assert command.get_ext_filename("aedmae_fast._cpu").startswith("aedmae_fast/_cpu.")


@pytest.mark.parametrize("inplace", [False, True])
def test_a_cuda_module_of_an_earlier_build_is_removed(
    build: ModuleType, inplace: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    command = build.BuildExt(Distribution())
    command.build_lib, command.inplace = "build/lib", inplace
    name = command.get_ext_filename("aedmae_fast._cuda")
    for folder in (".", "build/lib"):
        Path(folder, name).parent.mkdir(parents=True)
        Path(folder, name).touch()
    command.remove_stale()
    assert not Path("build/lib", name).exists()
    assert Path(name).exists() is not inplace  # one in the tree belongs to an editable install


def test_a_compiler_that_is_too_old_is_told_so(
    build: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiler = tmp_path / "old"
    compiler.write_text('#!/bin/sh\necho "unrecognized option" >&2\nexit 1\n')
    compiler.chmod(compiler.stat().st_mode | stat.S_IXUSR)
    monkeypatch.chdir(tmp_path)
    for name in ("CC", "CXX"):
        monkeypatch.setenv(name, str(compiler))
    Path("x_amx.cpp").touch()
    command = build.BuildExt(Distribution({"ext_modules": [Extension("x", ["x_amx.cpp"])]}))
    command.ensure_finalized()
    with pytest.raises(CompileError, match=r"expected gcc 11 or clang 12 or a later one.*for .*-mamx-tile"):
        command.run()


@pytest.mark.skipif(not shutil.which("g++") or not shutil.which("nm"), reason="g++ or nm is absent")
def test_sources_for_one_isa_share_no_code_with_others(build: ModuleType, tmp_path: Path) -> None:
    """The linker merges weak symbols: one compiled for AVX-512 could end up in the path of a CPU without it."""
    if build.platform.machine() != "x86_64":
        pytest.skip("one instruction set only")
    ends = tuple(build.ISA_FLAGS)
    sources = [source for source in sorted((ROOT / "csrc/cpu").glob("*.cpp")) if source.stem.endswith(ends)]
    assert {source.stem for source in sources} >= {"network_amx", "network_avx512_bf16", "smooth_max_avx2"}
    for source in sources:
        flags = next(flags for end, flags in build.ISA_FLAGS.items() if source.stem.endswith(end))
        output = str(tmp_path / f"{source.stem}.o")
        subprocess.run(["g++", "-std=c++17", "-O1", *flags, "-c", str(source), "-o", output], check=True)
        symbols = subprocess.run(["nm", "-C", output], capture_output=True, text=True, check=True).stdout.splitlines()
        weak = [line[19:] for line in symbols if line[17:18] in ("W", "V", "u")]
        assert not [name for name in weak if not name.startswith("DW.ref.")]  # a pointer, for exceptions; no code
