"""The command line starts without torch's compiler, and nothing that needs it later misses it."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPTS = {
    "what is left out comes when it is needed": """
import torch, torchvision
assert "torch._dynamo" not in sys.modules and "sympy" not in sys.modules and startup.NAME not in sys.modules
boxes = torch.tensor([[0.0, 0.0, 0.0, 3.0, 3.0]])
print(float(torchvision.ops.roi_align(torch.ones(1, 1, 4, 4), boxes, 2).sum()))
assert sys.modules["torchvision.ops.roi_align"].is_compile_supported("cpu") in (True, False)
assert startup.NAME in sys.modules and not isinstance(sys.modules[startup.NAME], startup.StandIn)
""",
    "torch.compile finds the real one": """
import torch
print(float(torch.compile(lambda x: 4 * x, backend="eager")(torch.ones(()))))
""",
    "a foreign question brings the real one": """
startup.import_deepinv()
import torchvision
stand_in = startup.StandIn(startup.NAME)
sys.modules[startup.NAME] = stand_in
from torch._dynamo.utils import counters
assert type(sys.modules[startup.NAME]) is not startup.StandIn and sys.modules[startup.NAME].counters is counters
print(4.0)
""",
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_deepinv_comes_without_the_compiler(name: str) -> None:
    code = f"import sys\nfrom pnpkit import startup\nstartup.import_deepinv()\n{SCRIPTS[name]}"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert out.returncode == 0, out.stderr
    assert out.stdout.strip() == "4.0"
