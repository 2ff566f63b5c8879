"""What was set up: storefronts and hosts, weights, the keys of upstreams."""

from __future__ import annotations

from collections.abc import Iterator

from farm.cli.doctor.check import Check, Patient
from farm.cli.models import ask_engines, asked_about
from farm.errors import SetupError
from farm.fronts import hosts_served, storefronts_served
from farm.upstreams import load_upstreams


def storefronts(patient: Patient) -> Iterator[Check]:
    """FARM_STOREFRONTS and FARM_HOSTS name what there is. Raises SetupError."""
    settings = patient.settings
    served = storefronts_served(settings.storefronts, list(patient.catalog.storefronts))
    hosts = hosts_served(settings.hosts, served)
    named = "".join(f"; {host} is {storefront}'s" for host, storefront in hosts.items())
    yield Check("storefronts", True, f"{', '.join(served)} are served{named}.")


def weights(patient: Patient) -> Iterator[Check]:
    """Each model's are there, for the workers of this machine."""
    settings = patient.settings
    for answer in ask_engines("check", asked_about(settings), settings):
        yield Check(f"weights {answer['id']}", answer["ok"], answer["message"])


def upstreams(patient: Patient) -> Iterator[Check]:
    """Whether each one's key is here; nobody is called."""
    for model_id, upstream in load_upstreams(patient.settings, patient.catalog).items():
        says = f"{upstream.shown} runs it as {upstream.model}; {upstream.key_env} is set here."
        try:
            upstream.key()
        except SetupError as error:
            yield Check(f"upstream {model_id}", False, str(error))
        else:
            yield Check(f"upstream {model_id}", True, says)
