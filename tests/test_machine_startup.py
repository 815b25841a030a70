"""The command line starts without torch's compiler, and nothing that needs it later misses it."""

from __future__ import annotations

import subprocess
import sys

import pytest

CODE = """
import sys
from pnpkit.machine import startup
startup.import_deepinv()
import torch, torchvision
left_out = [name for name in ("torch._dynamo", "sympy", startup.NAME) if name in sys.modules]
assert not left_out, left_out

stand_in = sys.modules[startup.NAME] = startup.StandIn(startup.NAME)
from torch._dynamo.utils import counters  # another question than the one it answers
real = sys.modules[startup.NAME]
assert real is not stand_in and real.counters is counters

there = sys.modules["torchvision.ops.roi_align"].is_compile_supported
assert there.__self__.__class__ is startup.StandIn and there("cpu") == real.is_compile_supported("cpu")
assert sys.modules[startup.NAME] is real
startup.import_deepinv()
assert sys.modules[startup.NAME] is real
print(float(torch.compile(lambda x: 4 * x, backend="eager")(torch.ones(()))))
"""


def test_deepinv_comes_without_the_compiler() -> None:
    out = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True)
    assert out.returncode == 0, out.stderr
    assert out.stdout.strip() == "4.0"


FAULTS = """
import resource
from pnpkit.machine import startup
import torch

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(40):  # small allocations between them cost a new block now and then
        torch.zeros(10_000_000).add_(1)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

left = faults()
print(startup.keep_memory(), faults(), left)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc only")
def test_memory_is_used_again() -> None:
    out = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True)
    kept, count, left = out.stdout.split()
    if kept == "False":
        pytest.skip("this C library gives memory back")
    assert int(count) < 0.3 * int(left)
