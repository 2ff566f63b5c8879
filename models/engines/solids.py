"""Things put together from simple shapes, as the words ask: the CPU twin of Shap-E."""

from __future__ import annotations

import hashlib

import numpy as np

from farm.types import Artifact, OnStep, RunRequest
from models.base import faults
from models.parts import meshes
from models.parts.plain_engine import PlainEngine
from models.parts.solids.scene import built, planned
from models.parts.solids.words import understood


class SolidsEngine(PlainEngine):
    """A :class:`models.base.Engine` without weights.

    It knows some thirty things by their names, and words for colours, materials, numbers, sizes
    and what stands on what; of a prompt that names none of the things it makes a sculpture. A
    step is a shape; how many steps the request asks for changes nothing.
    """

    def run(self, request: RunRequest, on_step: OnStep) -> list[Artifact]:
        """See :meth:`models.base.Engine.run`. One binary glTF file."""
        params = meshes.MeshParams.read(request)
        self._check_loaded()
        with faults(self.served_by, "running", self._setup.interrupts):
            # Prompt and seed: each of both changes everything that is drawn.
            words = params.prompt.encode("utf-8", "surrogatepass")
            rng = np.random.default_rng([params.seed, *hashlib.sha256(words).digest()])
            plans = planned(understood(params.prompt), rng)
            # And one more, to put them together.
            steps, done = 1 + sum(len(plan.shapes) for plan in plans), 0

            def after_shape() -> None:
                nonlocal done
                done += 1
                on_step(done, steps)

            scene = built(plans, after_shape)
            on_step(steps, steps)
            return [meshes.artifact(scene, params, request)]
