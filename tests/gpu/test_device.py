"""What the driver says of the worker's GPU, beside what torch says of it."""

from __future__ import annotations

import subprocess
import sys

from models.base import FIRST_GPU, DeviceWatch, device_memory_bytes

_WITHOUT_TORCH = """
import sys
from models.base import FIRST_GPU, DeviceWatch
watch = DeviceWatch(None)
state = watch.look(FIRST_GPU)
assert watch.has_gpu and "torch" not in sys.modules
print(state.gpu)
"""


def test_the_gpu_is_seen_without_torch_and_is_the_one_that_torch_sees() -> None:
    import torch

    # Where CUDA_VISIBLE_DEVICES is not set, the first of all is the worker's.
    said = subprocess.run(
        [sys.executable, "-c", _WITHOUT_TORCH], capture_output=True, text=True, check=True
    ).stdout.strip()
    assert said == torch.cuda.get_device_name(0)

    watch = DeviceWatch(None)
    before = watch.look(FIRST_GPU)
    # The driver counts what it keeps for itself; torch does not.
    assert 0 <= before.memory_bytes - device_memory_bytes(FIRST_GPU) < 4 << 30
    block = torch.empty(1 << 30, dtype=torch.uint8, device=FIRST_GPU)
    assert watch.look(FIRST_GPU).memory_used_bytes - before.memory_used_bytes >= block.numel()
    assert {"driver", "cuda", "torch"} <= set(watch.versions())


def test_none_is_seen_where_none_is_visible() -> None:
    for visible in ("", "-1", "NoDevFiles", "99"):
        assert not DeviceWatch(visible).has_gpu
    uuid = subprocess.run(
        ["nvidia-smi", "--query-gpu=uuid", "--format=csv,noheader"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()[0]
    assert DeviceWatch(uuid).has_gpu
    assert DeviceWatch(uuid[:12]).has_gpu
