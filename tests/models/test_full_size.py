"""The full-size models that ``tests/gpu`` measures are as large as the published ones."""

from __future__ import annotations

import pytest
import torch

from tests.gpu import configs, full_size


@pytest.mark.parametrize("model_id", full_size.MODELS)
def test_every_part_has_as_many_parameters_as_published(model_id: str) -> None:
    made = full_size.networks(model_id, "meta", torch.bfloat16)
    sizes = {name: sum(p.numel() for p in net.parameters()) for name, net in made.items()}
    assert sizes == configs.PARAMETERS[model_id]
    kinds = {(p.device.type, p.dtype) for net in made.values() for p in net.parameters()}
    assert kinds == {("meta", torch.bfloat16)}


def test_making_them_leaves_the_default_precision_as_it_was() -> None:
    full_size.networks("sdxl", "meta", torch.float16)
    assert torch.get_default_dtype() is torch.float32
    assert torch.empty(1).device.type == "cpu"
