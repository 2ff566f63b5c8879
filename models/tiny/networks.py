"""The trained miniatures' networks: diffusers' and transformers' own classes, with small numbers.

What they have in common with the real models is everything but the numbers: two text encoders,
a UNet that is told the sizes, an autoencoder; or T5 beside CLIP and a rectified-flow transformer.
"""

from __future__ import annotations

from diffusers import (
    AutoencoderTiny,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxTransformer2DModel,
    UNet2DConditionModel,
)
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)

from models.tiny import vocabulary

LATENT_CHANNELS = 4
"""As many as diffusers' inpainting pipeline takes where the UNet has no channels for a mask."""
FACTOR = 32
"""Pixels of a side of what one latent stands for: 1024 x 1024 pixels are 32 x 32 latents."""
_STAGES = 6
_AUTOENCODER_WIDTH = 32
CLIP_WIDTH, CLIP_WIDTH_2, T5_WIDTH = 64, 96, 96
_HEAD = 32
CLIP_TOKENS_MAX, T5_TOKENS_MAX = 40, 48
"""What is read of a prompt: captions have 32 tokens at the most, and each one more is a place that
painters must look at. T5 reads further than CLIP, as in the real model."""


def clip_tokenizer() -> CLIPTokenizer:
    """The one of both CLIPs."""
    return vocabulary.clip_tokenizer(CLIP_TOKENS_MAX)


def t5_tokenizer() -> T5Tokenizer:
    """T5's."""
    return vocabulary.t5_tokenizer(T5_TOKENS_MAX)


def autoencoder() -> AutoencoderTiny:
    """Pictures to latents and back, by convolutions alone (after TAESD, Ollin Boer Bohan, 2023).

    It has no norms, so that the parts of a large picture may be decoded one by one.
    """
    widths = (_AUTOENCODER_WIDTH,) * _STAGES
    return AutoencoderTiny(
        encoder_block_out_channels=widths,
        decoder_block_out_channels=widths,
        num_encoder_blocks=(0, 0, 1, 3, 4, 5),
        num_decoder_blocks=(6, 5, 4, 2, 1, 0),
        latent_channels=LATENT_CHANNELS,
        scaling_factor=1.0,
    )


def _clip(width: int, layers: int) -> CLIPTextConfig:
    tokenizer = clip_tokenizer()
    return CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=4 * width,
        projection_dim=width,
        num_hidden_layers=layers,
        num_attention_heads=width // _HEAD,
        max_position_embeddings=CLIP_TOKENS_MAX,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        # At the published size's standard deviation such narrow layers would hardly speak.
        initializer_factor=2.0,
    )


def text_encoder() -> CLIPTextModel:
    """The first of SDXL's, and FLUX's."""
    return CLIPTextModel(_clip(CLIP_WIDTH, 4))


def text_encoder_2() -> CLIPTextModelWithProjection:
    """The second of SDXL's, whose pooled output goes to the UNet as well."""
    return CLIPTextModelWithProjection(_clip(CLIP_WIDTH_2, 4))


def unet() -> UNet2DConditionModel:
    """Three levels: at 512 x 512 pixels 16, 8 and 4 latents wide; words come in at two.

    One group a norm: where few channels are normed by themselves, how bright all of a picture is
    gets lost. The pooled text scales what the layers do, and does not only shift it.
    """
    time_width = 32
    return UNet2DConditionModel(
        sample_size=1024 // FACTOR,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        block_out_channels=(48, 96, 128),
        layers_per_block=1,
        norm_num_groups=1,
        resnet_time_scale_shift="scale_shift",
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=1,
        attention_head_dim=(2, 3, 4),
        use_linear_projection=True,
        cross_attention_dim=CLIP_WIDTH + CLIP_WIDTH_2,
        addition_embed_type="text_time",
        addition_time_embed_dim=time_width,
        # The pooled text, and six numbers about sizes and crops.
        projection_class_embeddings_input_dim=CLIP_WIDTH_2 + 6 * time_width,
    )


def euler() -> EulerDiscreteScheduler:
    """As the real model's, but it ends in pure noise (Lin et al., 2023, arXiv:2305.08891).

    SDXL's own schedule leaves a trace of the picture in its last step, and pictures come out
    of medium brightness: a black background would be grey.
    """
    return EulerDiscreteScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
    )


def t5() -> T5EncoderModel:
    """The second of FLUX's text encoders."""
    return T5EncoderModel(
        T5Config(
            vocab_size=len(t5_tokenizer()),
            d_model=T5_WIDTH,
            d_kv=_HEAD,
            d_ff=2 * T5_WIDTH,
            num_layers=3,
            num_heads=T5_WIDTH // _HEAD,
            feed_forward_proj="gated-gelu",
            dropout_rate=0.0,
        )
    )


def transformer(*, guidance: bool = False) -> FluxTransformer2DModel:
    """Words and 2 x 2 latents in one sequence; ``guidance`` as in [dev].

    Two wide heads, not more narrow ones: the wider, the more frequencies tell places apart.
    """
    return FluxTransformer2DModel(
        patch_size=1,
        in_channels=4 * LATENT_CHANNELS,
        num_layers=2,
        num_single_layers=3,
        attention_head_dim=64,
        num_attention_heads=2,
        joint_attention_dim=T5_WIDTH,
        pooled_projection_dim=CLIP_WIDTH,
        guidance_embeds=guidance,
        axes_dims_rope=(8, 28, 28),
    )


def flow() -> FlowMatchEulerDiscreteScheduler:
    """As published with FLUX.1 [schnell]."""
    return FlowMatchEulerDiscreteScheduler(shift=1.0)
