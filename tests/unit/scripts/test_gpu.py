"""The measurements on a GPU, rehearsed where there is none."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from tests.support.paths import SCRIPTS

SCRIPT = SCRIPTS / "benchmark" / "gpu.py"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the script, and return how it ended."""
    return subprocess.run(
        [sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True, check=False
    )


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA GPU")
def test_a_machine_without_a_gpu_is_told_how_to_rehearse() -> None:
    """Breaks if the script measures a CPU for a GPU."""
    done = run()
    assert (done.returncode, done.stderr) == (
        1,
        "This machine has no CUDA GPU; rehearse with --device cpu.\n",
    )


@pytest.mark.long
def test_the_blocks_run_on_a_cpu() -> None:
    """Breaks if the one call on a lent machine ends in a mistake of the script."""
    done = run("--device", "cpu", "--blocks", "0", "1", "3", "5", "6", "7")
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert done.stdout.count("| same bytes |") == 2
    assert "OTHER BYTES" not in done.stdout
    assert "loaded where there is no GPU: True" in done.stdout
