"""Small tokenizers, made on the spot: nothing is downloaded for the tiny checkpoints."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable

from tokenizers import pre_tokenizers
from transformers import CLIPTokenizer, Qwen2Tokenizer, T5Tokenizer

CLIP_TOKENS_MAX = 77
CLIP_VOCABULARY = 1536
"""Tokens at most: the text encoders have an embedding for each."""

_WORD_END = "</w>"
_CHAT = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{{ message.content }}<|im_end|>\n{% endfor %}<|im_start|>assistant\n"
)
"""What a prompt stands in for a chat model, in the template language that transformers knows."""

_TEXT = """
a an the of and in on at with by to from for over under near behind one two three small large
old new bright dark soft warm cold wild quiet golden red orange yellow green blue purple pink
black white grey brown silver photo photograph picture painting drawing sketch poster logo icon
portrait landscape scene view studio light shadow sun moon star sky cloud rain snow storm fire
water sea ocean river lake beach island mountain hill valley forest tree leaf flower rose grass
garden field desert road street city town village house castle tower bridge door window room
kitchen table chair lamp book clock cup bottle glass plate bread apple lemon cake coffee tea cat
dog horse bird owl fox bear lion tiger fish whale dragon robot astronaut knight wizard king queen
man woman child girl boy face hand eye car train ship boat bicycle rocket space planet galaxy
style detailed realistic cinematic abstract vintage modern minimal watercolor oil ink digital art
closeup wide high resolution sharp focus sunset sunrise night morning evening summer winter spring
autumn product shoe watch bag shirt dress phone laptop box background plain colourful
circle circles disc discs dot dots square squares triangle triangles ring rings hoop hoops cross
crosses plus sign signs heart hearts stripe stripes bar bars stars bottle mug vase ball boxes
turquoise teal violet gray little tiny big huge illustration image simple flat design wooden wall
front gradient backdrop half empty just next row side left right top bottom middle center centre
centered corner upper lower above below beneath against there is are
"""
WORDS = _TEXT.split()


def clip_tokenizer(tokens_max: int = CLIP_TOKENS_MAX) -> CLIPTokenizer:
    """A byte-level BPE tokenizer: a word of the list is about one token, any text has tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = ["<|startoftext|>", "<|endoftext|>", *alphabet, *(f"{c}{_WORD_END}" for c in alphabet)]
    merges = _merges(WORDS, CLIP_VOCABULARY - len(tokens))
    tokens += dict.fromkeys(left + right for left, right in merges)
    vocabulary = {token: number for number, token in enumerate(dict.fromkeys(tokens))}
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=tokens_max)


def _merges(words: Iterable[str], most: int, end: str = _WORD_END) -> list[tuple[str, str]]:
    """Byte-pair merges (Sennrich et al., 2016, arXiv:1508.07909), most frequent first.

    The tokenizers library's own trainer settles ties differently in every process, and a
    checkpoint must be the same wherever it is built.
    """
    split = [(*word[:-1], word[-1] + end) for word in words]
    merges: list[tuple[str, str]] = []
    while len(merges) < most:
        pairs = Counter(pair for word in split for pair in itertools.pairwise(word))
        if not pairs:
            break
        best = max(pairs, key=lambda pair: (pairs[pair], pair))
        merges.append(best)
        split = [_merged(word, best) for word in split]
    return merges


def _merged(word: tuple[str, ...], pair: tuple[str, str]) -> tuple[str, ...]:
    """The word with each occurrence of the pair made one symbol."""
    symbols: list[str] = []
    for symbol in word:
        if symbols and (symbols[-1], symbol) == pair:
            symbols[-1] += symbol
        else:
            symbols.append(symbol)
    return tuple(symbols)


def t5_tokenizer(tokens_max: int = 512) -> T5Tokenizer:
    """A unigram tokenizer: the list's words, and single printable ASCII characters."""
    letters = [chr(code) for code in range(33, 127)]
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -4.0)]
    pieces += [(f"▁{word}", -5.0) for word in dict.fromkeys(WORDS)]
    pieces += [(letter, -10.0) for letter in letters]
    return T5Tokenizer(vocab=pieces, extra_ids=0, model_max_length=tokens_max)


def qwen_tokenizer() -> Qwen2Tokenizer:
    """A byte-level BPE tokenizer with a chat template: a word after a space is one token."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = _merges(["\u0120" + word for word in WORDS], CLIP_VOCABULARY, end="")
    tokens = [*alphabet, *dict.fromkeys(left + right for left, right in merges)]
    vocabulary = {token: number for number, token in enumerate(dict.fromkeys(tokens))}
    return Qwen2Tokenizer(
        vocab=vocabulary,
        merges=merges,
        model_max_length=1024,
        chat_template=_CHAT,
        additional_special_tokens=["<|im_start|>", "<|im_end|>"],
    )
