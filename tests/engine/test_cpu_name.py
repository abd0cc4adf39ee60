"""The processor's name and generation: what tells apart machines that call themselves the same."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

from aedmae_fast.engine import cpu_name as of
from aedmae_fast.engine.cpu_name import cpu_generation, cpu_name

CORE = """processor\t: 0
vendor_id\t: AuthenticAMD
cpu family\t: 26
model\t\t: 2
model name\t: AMD EPYC
stepping\t: 1

"""


@pytest.mark.parametrize(
    ("content", "name", "generation"),
    [
        (CORE + CORE.replace("26", "25"), "AMD EPYC", "family 26, model 2"),
        (CORE.replace("AMD EPYC", ""), "the architecture", "family 26, model 2"),
        ("processor\t: 0\nCPU implementer\t: 0x41\n", "the architecture", "unknown"),  # ARM
        (None, "the architecture", "unknown"),  # not Linux
    ],
)
def test_it_is_as_the_system_says(
    content: str | None, name: str, generation: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if content is not None:
        (tmp_path / "cpuinfo").write_text(content)
    monkeypatch.setattr(of, "CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(platform, "processor", lambda: "")
    monkeypatch.setattr(platform, "machine", lambda: "the architecture")
    assert (cpu_name(), cpu_generation()) == (name, generation)
