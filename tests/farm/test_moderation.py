"""The prompt policy: stops what its rules say in any spelling, and nothing else."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.errors import SetupError
from farm.moderation import PromptPolicy, normalise

BUILT_IN = PromptPolicy.from_file()

HARMLESS = [
    "a child eating ice cream",
    "three kids building a sandcastle, watercolour",
    "children playing football at sunset",
    "a toddler with a red balloon",
    "Essex countryside in autumn",
    "grape harvest in Tuscany",
    "Scunthorpe railway station, 1960s photograph",
    "rapeseed field under a blue sky",
    "a therapist's office, soft light",
    "a naked mole-rat in its burrow",
    "nude coloured lipstick on marble",
    "a minor chord visualised as light",
    "Middlesex coat of arms",
    "skyscraper wrapped in drapery",
    "the minority report, film noir poster",
    "Alexander the Great, sextant and map",
    "draped curtains!! 4k, 8k, f/1.4, 35mm | cinematic",
    "a goat kidding around",
    "sussex_downs_at_dawn",
    "狐狸在雪地里，水彩画",
    "مدينة قديمة عند الغروب",
    "🦊 in the snow ❄️",
    "",
]


@pytest.mark.parametrize("prompt", HARMLESS)
def test_harmless_prompts_pass(prompt: str) -> None:
    assert BUILT_IN.verdict(prompt) is None


@pytest.mark.parametrize(
    "prompt",
    [
        "child porn",
        "CHILD PORN",
        "Child   Porn",
        "child\nporn",
        "child-porn",
        "child_porn",
        "chïld pörn",
        "chi\u0301ld porn",
        "ｃｈｉｌｄ　ｐｏｒｎ",
        "chi\u200bld po\u00adrn",
        "ch1ld p0rn",
        "ch!ld p0rn",
        "𝐜𝐡𝐢𝐥𝐝 𝐩𝐨𝐫𝐧",
        "a naked child",
        "naked,\nbeside them a child",
        "n4ked k1ds",
        "n4ked child!",
        "n4ked_child|",
        "a schoolgirl in lingerie, anime",
        "undress her",
        "deepfake nude of an actress",
        "she was raped",
    ],
)
def test_what_the_built_in_rules_name_is_refused_in_any_spelling(prompt: str) -> None:
    refusal = BUILT_IN.verdict(prompt)
    assert refusal is not None
    assert "content policy" in refusal


@given(
    st.lists(
        st.sampled_from(["Forbidden", "FORBIDDEN", "f0rb1dd3n", "ｆorbidden", "for\u200bbidden"])
    ),
    st.text(max_size=30),
    st.text(max_size=30),
)
def test_a_word_is_found_between_any_spaces(words: list[str], before: str, after: str) -> None:
    policy = PromptPolicy(["forbidden"])
    prompt = f"{before} {' '.join(words)} {after}"
    if words:
        assert policy.verdict(prompt) is not None
    assert PromptPolicy([]).verdict(prompt) is None


@given(st.text(max_size=60))
def test_normalising_twice_changes_nothing_and_letter_case_none(text: str) -> None:
    assert normalise(normalise(text)) == normalise(text)
    assert BUILT_IN.verdict(normalise(text)) == BUILT_IN.verdict(text)


def test_a_word_stands_alone_and_is_not_found_inside_another() -> None:
    policy = PromptPolicy(["cat", "red dress", "c++"])
    refused = ["a CAT.", "cat", "(cat)", "red  dress", "red, dress", "code in c++ please"]
    passed = ["concatenate", "cats", "redress", "red and dress", "c#"]
    assert [text for text in refused if policy.verdict(text) is None] == []
    assert [text for text in passed if policy.verdict(text) is not None] == []


def test_a_long_prompt_is_judged_at_once() -> None:
    """A web thread does this for every submit: it may not grow with the prompt's square."""
    slow = [("child " * 400)[:2000], ("a harbour at dawn, " * 120)[:2000], "c" * 2000]
    started = time.process_time()
    for prompt in slow:
        assert BUILT_IN.verdict(prompt) is None
    assert time.process_time() - started < 0.15


def test_an_operators_file_has_words_patterns_and_comments(tmp_path: Path) -> None:
    path = tmp_path / "rules.txt"
    path.write_text(
        "# our own rules\n"
        "\n"
        "zebra   # in any coat\n"
        "  Blue   Moon\n"
        r"/colou?r (\w)\1/" + "\n"
        r"/no(\w)\1/" + "\n",
        encoding="utf-8",
    )
    policy = PromptPolicy.from_file(path)
    refused = ["a ZEBRA", "once in a blue moon", "color aa", "colour zz", "nobb"]
    passed = ["zebras", "in any coat", "our own rules", "color ab", "child porn", "#"]
    assert [text for text in refused if policy.verdict(text) is None] == []
    assert [text for text in passed if policy.verdict(text) is not None] == []


def test_an_editors_byte_order_mark_is_no_rule(tmp_path: Path) -> None:
    path = tmp_path / "rules.txt"
    path.write_bytes(b"\xef\xbb\xbf# rules\r\nzebra\r\n")
    policy = PromptPolicy.from_file(path)
    assert policy.verdict("a horse") is None
    assert policy.verdict("a zebra") is not None


@pytest.mark.parametrize("line", ["", "#", "   ", "# only a comment", "\u200b", "//", "/"])
def test_a_line_that_says_nothing_refuses_nothing(line: str) -> None:
    assert PromptPolicy([line]).verdict("a horse in the rain") is None


@pytest.mark.parametrize("rule", ["/(unclosed/", "/a)|(b/", "/[z-a]/"])
def test_a_broken_pattern_is_named(tmp_path: Path, rule: str) -> None:
    path = tmp_path / "rules.txt"
    path.write_text(f"zebra\n{rule}\n", encoding="utf-8")
    with pytest.raises(SetupError) as caught:
        PromptPolicy.from_file(path)
    assert str(path) in str(caught.value)
    assert repr(rule[1:-1]) in str(caught.value)


@pytest.mark.parametrize("content", [None, b"caf\xe9"])
def test_a_file_that_cannot_be_read_is_named_with_what_to_do(
    tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "rules.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SetupError, match="FARM_MODERATION_FILE") as caught:
        PromptPolicy.from_file(path)
    assert str(path) in str(caught.value)
