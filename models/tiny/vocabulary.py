"""Small tokenizers, made on the spot: nothing is downloaded for the tiny checkpoints."""

from __future__ import annotations

import json
from typing import Any

from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import CLIPTokenizer, T5Tokenizer

CLIP_TOKENS_MAX = 77
CLIP_VOCABULARY = 1024
"""An upper bound; text encoders have an embedding for each."""

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
autumn red-haired product shoe watch bag shirt dress phone laptop box background plain colourful
"""
WORDS = _TEXT.split()


def clip_tokenizer() -> CLIPTokenizer:
    """A byte-level BPE tokenizer: a word of the list is about one token, any text has tokens."""
    start, end = "<|startoftext|>", "<|endoftext|>"
    trained = Tokenizer(models.BPE(unk_token=end, end_of_word_suffix="</w>"))
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=CLIP_VOCABULARY - 256,
        special_tokens=[start, end],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    trained.train_from_iterator(WORDS, trainer)
    model: dict[str, Any] = json.loads(trained.to_str())["model"]
    vocabulary: dict[str, int] = model["vocab"]
    # Any byte may end a word, also those that end none of the list's.
    for letter in sorted(pre_tokenizers.ByteLevel.alphabet()):
        vocabulary.setdefault(f"{letter}</w>", len(vocabulary))
    merges = [tuple(pair) for pair in model["merges"]]
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=CLIP_TOKENS_MAX)


def t5_tokenizer() -> T5Tokenizer:
    """A unigram tokenizer: the list's words, and single printable ASCII characters."""
    letters = [chr(code) for code in range(33, 127)]
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -4.0)]
    pieces += [(f"▁{word}", -5.0) for word in dict.fromkeys(WORDS)]
    pieces += [(letter, -10.0) for letter in letters]
    return T5Tokenizer(vocab=pieces, extra_ids=0, model_max_length=512)
