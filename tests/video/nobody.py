"""Run a few lines as a user without rights: root, as whom containers run tests, may read everything."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


def run_as_nobody(folder: Path, imports: str, program: str) -> str:
    """What ``program`` prints, run in ``folder`` by a user with no rights but those of everyone.

    ``imports`` run before the rights are given up, since the interpreter itself may lie where only root can read.
    """
    folder.chmod(0o755)
    code = f"import os\n{imports}\nos.setgroups([])\nos.setgid(65534)\nos.setuid(65534)\n{program}"
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
