"""The full-size video models that ``tests/gpu`` measures are as large as the published ones."""

from __future__ import annotations

import pytest
import torch

from tests.gpu import configs, full_size_video


@pytest.mark.parametrize("model_id", full_size_video.MODELS)
def test_every_part_has_as_many_parameters_as_published(model_id: str) -> None:
    made = full_size_video.networks(model_id, "meta")
    sizes = {name: sum(p.numel() for p in net.parameters()) for name, net in made.items()}
    assert sizes == configs.PARAMETERS[model_id]
    assert {p.device.type for net in made.values() for p in net.parameters()} == {"meta"}
    assert torch.get_default_dtype() is torch.float32
