"""Small random networks of the classes that find what words mean, in the layout of the hub's
repositories."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from transformers import (
    BertConfig,
    BertTokenizer,
    CLIPSegConfig,
    CLIPSegForImageSegmentation,
    CLIPSegProcessor,
    GroundingDinoConfig,
    GroundingDinoForObjectDetection,
    GroundingDinoImageProcessor,
    GroundingDinoProcessor,
    Sam2HieraDetConfig,
    Sam2ImageProcessor,
    Sam2VideoConfig,
    Sam2VideoModel,
    Sam2VisionConfig,
    SwinConfig,
    ViTImageProcessor,
)

from models.parts.quiet import quieten
from models.tiny.vocabulary import CLIP_VOCABULARY, WORDS, clip_tokenizer

_WIDTH = 32
_SAM_SIDE = 128
# The detector's code knows these tokens by their numbers in BERT's own vocabulary.
_BERT_TOKENS = {"[PAD]": 0, "[UNK]": 100, "[CLS]": 101, "[SEP]": 102, ".": 1012, "?": 1029}
_FIRST_WORD = 1100


def write_grounding_dino(folder: Path) -> None:
    """A GroundingDINO with twenty queries and two decoder layers."""
    torch.manual_seed(1)
    numbers = {f"[unused{number}]": number for number in range(_FIRST_WORD)}
    numbers = {t: n for t, n in numbers.items() if n not in _BERT_TOKENS.values()} | _BERT_TOKENS
    for word in dict.fromkeys(WORDS):
        numbers[word] = len(numbers)
    tokenizer = BertTokenizer(vocab=numbers, do_lower_case=True)
    backbone = SwinConfig(
        image_size=224,
        embed_dim=8,
        depths=[1, 1, 1, 1],
        num_heads=[1, 1, 1, 1],
        out_features=["stage2", "stage3", "stage4"],
    )
    text = BertConfig(
        vocab_size=len(numbers),
        hidden_size=_WIDTH,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=_WIDTH,
    )
    config = GroundingDinoConfig(
        backbone_config=backbone,
        text_config=text,
        d_model=_WIDTH,
        num_queries=20,
        encoder_layers=1,
        decoder_layers=2,
        encoder_ffn_dim=_WIDTH,
        decoder_ffn_dim=_WIDTH,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
    )
    quieten()
    GroundingDinoForObjectDetection(config).save_pretrained(folder)
    images = GroundingDinoImageProcessor(size={"shortest_edge": 128, "longest_edge": 224})
    GroundingDinoProcessor(images, tokenizer).save_pretrained(folder)


def write_sam2(folder: Path) -> None:
    """A SAM 2 that was saved, like the published ones, as the model for films, of which the
    one for pictures is a part."""
    torch.manual_seed(2)
    side = _SAM_SIDE
    backbone = Sam2HieraDetConfig(
        hidden_size=8,
        image_size=[side, side],
        blocks_per_stage=[1, 1, 2, 1],
        embed_dim_per_stage=[8, 16, 24, _WIDTH],
        num_attention_heads_per_stage=[1, 1, 1, 1],
        window_size_per_stage=[8, 4, 4, 4],
        global_attention_blocks=[3],
    )
    vision = Sam2VisionConfig(
        backbone_config=backbone,
        backbone_channel_list=[_WIDTH, 24, 16, 8],
        backbone_feature_sizes=[[side // n, side // n] for n in (4, 8, 16)],
        fpn_hidden_size=_WIDTH,
    )
    config = Sam2VideoConfig(
        vision_config=vision,
        prompt_encoder_config={"hidden_size": _WIDTH, "image_size": side},
        mask_decoder_config={
            "hidden_size": _WIDTH,
            "mlp_dim": _WIDTH,
            "num_attention_heads": 2,
            "iou_head_hidden_dim": _WIDTH,
        },
        image_size=side,
        memory_attention_hidden_size=_WIDTH,
        memory_attention_num_layers=1,
        memory_attention_feed_forward_hidden_size=_WIDTH,
        memory_attention_rope_feat_sizes=[side // 16, side // 16],
        memory_encoder_hidden_size=_WIDTH,
        memory_encoder_output_channels=16,
        mask_downsampler_embed_dim=_WIDTH,
        memory_fuser_num_layers=1,
        memory_fuser_embed_dim=_WIDTH,
        memory_fuser_intermediate_dim=_WIDTH,
    )
    quieten()
    Sam2VideoModel(config).save_pretrained(folder)
    quarter = {"height": side // 4, "width": side // 4}
    Sam2ImageProcessor(size={"height": side, "width": side}, mask_size=quarter).save_pretrained(
        folder
    )
    film = {"point_pad_value": -10, "processor_class": "Sam2VideoProcessor", "target_size": side}
    (folder / "processor_config.json").write_text(json.dumps(film))
    file = folder / "preprocessor_config.json"
    names = {"image_processor_type": "Sam2ImageProcessorFast"}
    names |= {"processor_class": "Sam2VideoProcessor"}
    file.write_text(json.dumps(json.loads(file.read_text()) | names))


def write_clipseg(folder: Path) -> None:
    """A CLIPSeg of three layers that looks at 96 x 96 pixels."""
    torch.manual_seed(3)
    tokenizer = clip_tokenizer()
    config = CLIPSegConfig(
        text_config={
            "vocab_size": CLIP_VOCABULARY,
            "hidden_size": _WIDTH,
            "intermediate_size": _WIDTH,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
        },
        vision_config={
            "hidden_size": _WIDTH,
            "intermediate_size": _WIDTH,
            "num_hidden_layers": 3,
            "num_attention_heads": 2,
            "image_size": 64,
            "patch_size": 16,
        },
        projection_dim=_WIDTH,
        extract_layers=[0, 1, 2],
        reduce_dim=16,
        decoder_num_attention_heads=2,
        decoder_intermediate_size=_WIDTH,
    )
    quieten()
    CLIPSegForImageSegmentation(config).save_pretrained(folder)
    CLIPSegProcessor(
        ViTImageProcessor(size={"height": 96, "width": 96}), tokenizer
    ).save_pretrained(folder)
