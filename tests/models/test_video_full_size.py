"""The full-size models of films and things that ``tests/gpu`` measures are as large as the
published ones."""

from __future__ import annotations

import pytest
import torch

from tests.gpu import configs_3d, full_size_mesh, full_size_video


@pytest.mark.parametrize("model_id", full_size_video.MODELS)
def test_every_part_has_as_many_parameters_as_published(model_id: str) -> None:
    made = full_size_video.networks(model_id, "meta")
    sizes = {name: sum(p.numel() for p in net.parameters()) for name, net in made.items()}
    assert sizes == full_size_video.PARAMETERS[model_id]
    assert {p.device.type for net in made.values() for p in net.parameters()} == {"meta"}
    assert torch.get_default_dtype() is torch.float32


def test_shap_e_has_as_many_parameters_as_published() -> None:
    made = full_size_mesh.networks("meta")
    sizes = {name: sum(p.numel() for p in net.parameters()) for name, net in made.items()}
    assert sizes == configs_3d.PARAMETERS["shap-e"]
