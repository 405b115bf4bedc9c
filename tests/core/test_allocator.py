"""Freed memory stays with the process, in pages that are huge where the system has them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HUGE = Path("/sys/kernel/mm/transparent_hugepage/enabled")

SCRIPT = """
import resource
import torch
from dreamenv.core.allocator import keep_freed_memory

def faults(work):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    work()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def work():
    torch.ones(2**24)  # 64 MiB: 16,384 small pages

assert keep_freed_memory() and keep_freed_memory(), "asked twice, as every user of it does"
print(faults(work), faults(work))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a setting of glibc")
def test_what_is_freed_is_used_again_without_a_page_fault() -> None:
    command = [sys.executable, "-c", SCRIPT]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    first, second = map(int, done.stdout.split())
    assert second < 100, "the second tensor lies where the first was"
    if HUGE.exists() and "[never]" not in HUGE.read_text():
        assert first < 2**24 * 4 / 4096 / 10, "pages are huge where they may be"
