"""Which storefronts are served, and which hosts are whose."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from farm.config import Settings
from farm.errors import SetupError
from farm.fronts import host_of, hosts_served, storefronts_served

KNOWN = ("pixelapi", "pixola", "pixza")


@pytest.mark.parametrize(
    ("text", "served"),
    [
        ("", KNOWN),
        ("  ", KNOWN),
        ("pixza", ("pixza",)),
        (" pixza , pixelapi ", ("pixelapi", "pixza")),
    ],
)
def test_what_is_named_is_served_in_the_usual_order(text: str, served: tuple[str, ...]) -> None:
    assert storefronts_served(text, KNOWN) == served


def test_an_unknown_storefront_is_named_with_those_there_are() -> None:
    with pytest.raises(SetupError, match=r"FARM_STOREFRONTS .*'pixel'.*pixelapi, pixola, pixza"):
        storefronts_served("pixza,pixel", KNOWN)
    with pytest.raises(SetupError, match=r"FARM_HOSTS .*'pixola'.*pixza"):
        hosts_served("img.example.com=pixola", ("pixza",))


def test_hosts_are_compared_without_port_and_case() -> None:
    hosts = hosts_served("Img.Example.com=pixola, gen.example.com = pixza,a=pixza", KNOWN)
    assert hosts == {"img.example.com": "pixola", "gen.example.com": "pixza", "a": "pixza"}
    for header in (
        "img.example.com",
        "IMG.example.COM:8443",
        "img.example.com.",
        "img.example.com.:80",
    ):
        assert hosts[host_of(header)] == "pixola"
    for header in ("", ":80", "[::1]:80", "example.com", "ximg.example.com", "img.example.com.x"):
        assert host_of(header) not in hosts


@pytest.mark.parametrize(
    ("setting", "text"),
    [
        ("storefronts", "pixza,"),
        ("storefronts", "pixza,pixza"),
        ("hosts", "img.example.com"),
        ("hosts", "img.example.com="),
        ("hosts", "=pixola"),
        ("hosts", "img.example.com:8000=pixola"),
        ("hosts", "https://img.example.com=pixola"),
        ("hosts", "-a.example.com=pixola"),
        ("hosts", "a..example.com=pixola"),
        ("hosts", f"{'a' * 300}=pixola"),
        ("hosts", "a=pixola,A=pixza"),
        ("hosts", "a=pixola,,b=pixza"),
    ],
)
def test_settings_that_cannot_be_read_stop_the_start(setting: str, text: str) -> None:
    with pytest.raises(ValidationError):
        Settings.model_validate({setting: text})
