"""python -m aedmae_fast.env: every op is listed with what it runs on, also where nothing was built."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from aedmae_fast import env, ops
from aedmae_fast.ops import native
from aedmae_fast.sources import OURS, fingerprint
from aedmae_fast.video.survey import why_no_dali


def test_every_op_says_what_it_runs_on() -> None:
    found = env.describe()["ops"]
    public = set(ops.__all__) - {"smooth_max"}  # which is composed of mean_filter and mean_max
    assert set(found) == public | {"attention_gradient"}  # which autograd calls for attention
    assert all(set(where) == {"cpu", "cuda"} for where in found.values())
    assert found["motion_weights"]["cpu"] == f"C++ ({native.cpu().isa()})"


def test_it_prints_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    env.main([])
    lines = dict(line.split("  ", 1) for line in capsys.readouterr().out.splitlines())
    assert lines["cpu isa"].strip().startswith(native.cpu().isa())
    assert lines["cpu amx"].strip() == (f"none: {reason}" if (reason := native.cpu().why_no_amx()) else "to be had")
    assert ("amx" in native.cpu().isas()) == (not reason)
    assert lines["decoders dali"].strip() == (f"none: {why}" if (why := why_no_dali()) else "to be had")
    assert {f"ops {name} cuda".strip() for name in env.describe()["ops"]} <= {name.strip() for name in lines}


def test_kernels_of_other_sources_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built = native.cpu().build_info()["sources"]
    assert env.describe()["cpu"]["sources"] == built == fingerprint(native.ROOT)
    monkeypatch.setattr(native, "ROOT", tmp_path)
    native.cpu.cache_clear()
    native.cpu()  # no sources here, as beside an installed wheel
    header = tmp_path / OURS
    header.parent.mkdir(parents=True)
    header.with_name("theirs.cpp").write_text("// another package's, in site-packages/csrc\n")
    native.cpu.cache_clear()
    native.cpu()
    header.write_text("// other sources\n")
    native.cpu.cache_clear()
    with pytest.raises(ImportError, match=rf"built from {built}, but .* in {tmp_path} are \w{{12}}: run `pip install"):
        native.cpu()
    assert "built from" in env.describe()["cpu"]["isa"]


def test_the_fingerprint_is_of_the_sources_alone(tmp_path: Path) -> None:
    seen = {fingerprint(tmp_path)}
    (tmp_path / OURS).parent.mkdir(parents=True)
    (tmp_path / OURS).touch()
    seen.add(fingerprint(tmp_path))
    for name, content in (("a.h", "1"), ("a.h", "2"), ("b.cu", "2"), ("b.cpp", "2")):
        (tmp_path / "csrc" / name).write_text(content)
        seen.add(fingerprint(tmp_path))
    assert len(seen) == 6
    (tmp_path / "csrc" / "a.h~").write_text("3")  # an editor's
    assert fingerprint(tmp_path) in seen


def test_it_takes_no_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    for given, code, said in (["--help"], 0, "python -m aedmae_fast.env"), (["--anything"], 2, "--anything"):
        with pytest.raises(SystemExit) as ended:
            env.main(given)
        assert ended.value.code == code
        assert said in "".join(capsys.readouterr())


def test_a_tree_that_was_never_built_is_no_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "aedmae_fast._cpu", None)
    native.cpu.cache_clear()
    found = env.describe()
    assert found["cpu"]["isa"].startswith("none: aedmae_fast._cpu")
    assert found["ops"]["motion_weights"]["cpu"].startswith("none: ")
