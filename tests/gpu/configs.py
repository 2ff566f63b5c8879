"""The published sizes of the models that are measured at full size; data, nothing downloaded.

Written down from the models' own repositories: each part's ``config.json`` of
stabilityai/stable-diffusion-xl-base-1.0 (SDXL), black-forest-labs/FLUX.1-schnell (FLUX),
black-forest-labs/FLUX.2-klein-4B (FLUX.2; the parameters below are those of the files it lists:
7,751,105,712 and 8,044,982,048 bytes of bf16, 168,120,878 of its autoencoder),
Wan-AI/Wan2.1-T2V-14B-Diffusers (Wan) and zai-org/CogVideoX-2b (CogVideoX).
"""

from __future__ import annotations

from typing import Any

Config = dict[str, Any]

CLIP_L: Config = {
    "vocab_size": 49408,
    "hidden_size": 768,
    "intermediate_size": 3072,
    "projection_dim": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "max_position_embeddings": 77,
    "hidden_act": "quick_gelu",
}
"""CLIP ViT-L/14's text half: the first text encoder of both."""

OPENCLIP_BIGG: Config = {
    "vocab_size": 49408,
    "hidden_size": 1280,
    "intermediate_size": 5120,
    "projection_dim": 1280,
    "num_hidden_layers": 32,
    "num_attention_heads": 20,
    "max_position_embeddings": 77,
    "hidden_act": "gelu",
}
"""OpenCLIP ViT-bigG/14's text half with its projection: SDXL's second text encoder."""

T5_XXL: Config = {
    "vocab_size": 32128,
    "d_model": 4096,
    "d_ff": 10240,
    "d_kv": 64,
    "num_layers": 24,
    "num_heads": 64,
    "feed_forward_proj": "gated-gelu",
}
"""T5 v1.1 XXL's encoder: FLUX's second text encoder."""

SDXL_UNET: Config = {
    "sample_size": 128,
    "in_channels": 4,
    "out_channels": 4,
    "block_out_channels": (320, 640, 1280),
    "layers_per_block": 2,
    "norm_num_groups": 32,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": (1, 2, 10),
    # Heads by block, whatever the name says.
    "attention_head_dim": (5, 10, 20),
    "use_linear_projection": True,
    "cross_attention_dim": 2048,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}

FLUX_TRANSFORMER: Config = {
    "patch_size": 1,
    "in_channels": 64,
    "num_layers": 19,
    "num_single_layers": 38,
    "attention_head_dim": 128,
    "num_attention_heads": 24,
    "joint_attention_dim": 4096,
    "pooled_projection_dim": 768,
    # [dev] has one, of 10 million parameters more; [schnell] was distilled without.
    "guidance_embeds": False,
    "axes_dims_rope": (16, 56, 56),
}

FLUX_DEV_TRANSFORMER: Config = {**FLUX_TRANSFORMER, "guidance_embeds": True}
"""FLUX.1 [dev]'s, and Kontext's."""

FLUX_2_TRANSFORMER: Config = {
    "patch_size": 1,
    "in_channels": 128,
    "num_layers": 5,
    "num_single_layers": 20,
    "attention_head_dim": 128,
    "num_attention_heads": 24,
    "joint_attention_dim": 7680,
    "guidance_embeds": False,
}

QWEN3_4B: Config = {
    "vocab_size": 151936,
    "hidden_size": 2560,
    "intermediate_size": 9728,
    "num_hidden_layers": 36,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "tie_word_embeddings": True,
}
"""FLUX.2 [klein] 4B's text encoder."""

_AUTOENCODER: Config = {
    "in_channels": 3,
    "out_channels": 3,
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
    "norm_num_groups": 32,
    "sample_size": 1024,
}

# The published SDXL autoencoder must decode in float32; the one that the catalogue puts in its
# place, and that is measured here, need not.
SDXL_VAE: Config = {
    **_AUTOENCODER,
    "latent_channels": 4,
    "scaling_factor": 0.13025,
    "force_upcast": False,
}

FLUX_VAE: Config = {
    **_AUTOENCODER,
    "latent_channels": 16,
    "scaling_factor": 0.3611,
    "shift_factor": 0.1159,
    "use_quant_conv": False,
    "use_post_quant_conv": False,
    "force_upcast": True,
}

SDXL_SCHEDULER: Config = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
    "timestep_spacing": "leading",
    "steps_offset": 1,
}

FLUX_SCHEDULER: Config = {
    "num_train_timesteps": 1000,
    "shift": 1.0,
    "use_dynamic_shifting": False,
    "base_shift": 0.5,
    "max_shift": 1.15,
    "base_image_seq_len": 256,
    "max_image_seq_len": 4096,
}

FLUX_DEV_SCHEDULER: Config = {**FLUX_SCHEDULER, "shift": 3.0, "use_dynamic_shifting": True}
"""FLUX.1 [dev]'s, Kontext's and FLUX.2's."""

UMT5_XXL: Config = {**T5_XXL, "vocab_size": 256384}
"""The encoder of the multilingual T5 XXL: Wan's text encoder."""

WAN_TRANSFORMER: Config = {
    "patch_size": (1, 2, 2),
    "num_attention_heads": 40,
    "attention_head_dim": 128,
    "in_channels": 16,
    "out_channels": 16,
    "text_dim": 4096,
    "freq_dim": 256,
    "ffn_dim": 13824,
    "num_layers": 40,
    "cross_attn_norm": True,
    "qk_norm": "rms_norm_across_heads",
}

WAN_VAE: Config = {
    "base_dim": 96,
    "z_dim": 16,
    "dim_mult": [1, 2, 4, 4],
    "num_res_blocks": 2,
    "temperal_downsample": [False, True, True],
}

COGVIDEOX_TRANSFORMER: Config = {
    "num_attention_heads": 30,
    "attention_head_dim": 64,
    "in_channels": 16,
    "out_channels": 16,
    "time_embed_dim": 512,
    "text_embed_dim": 4096,
    "num_layers": 30,
    "sample_width": 90,
    "sample_height": 60,
    "sample_frames": 49,
    "patch_size": 2,
    "max_text_seq_length": 226,
}

COGVIDEOX_VAE: Config = {
    "block_out_channels": (128, 256, 256, 512),
    "down_block_types": ("CogVideoXDownBlock3D",) * 4,
    "up_block_types": ("CogVideoXUpBlock3D",) * 4,
    "latent_channels": 16,
    "layers_per_block": 3,
    "temporal_compression_ratio": 4,
    "sample_height": 480,
    "sample_width": 720,
    "scaling_factor": 1.15258426,
}

COGVIDEOX_SCHEDULER: Config = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "num_train_timesteps": 1000,
    "prediction_type": "v_prediction",
    "rescale_betas_zero_snr": True,
    "set_alpha_to_one": True,
    "snr_shift_scale": 3.0,
    "timestep_spacing": "trailing",
}

WAN_SCHEDULER: Config = {
    "prediction_type": "flow_prediction",
    "use_flow_sigmas": True,
    "num_train_timesteps": 1000,
    "flow_shift": 3.0,
}

PARAMETERS: dict[str, dict[str, int]] = {
    "sdxl": {
        "unet": 2_567_463_684,
        "vae": 83_653_863,
        "text_encoder": 123_060_480,
        "text_encoder_2": 694_659_840,
    },
    "flux-schnell": {
        "transformer": 11_891_178_560,
        "vae": 83_819_683,
        "text_encoder": 123_060_480,
        "text_encoder_2": 4_762_310_656,
    },
    "flux-2": {
        "transformer": 3_875_544_576,
        "vae": 84_046_115,
        "text_encoder": 4_022_468_096,
    },
    "wan2.1": {
        "transformer": 14_288_491_584,
        "vae": 126_892_531,
        "text_encoder": 5_680_910_336,
    },
    "cogvideo-2b": {
        "transformer": 1_693_783_872,
        "vae": 215_583_907,
        "text_encoder": 4_762_310_656,
    },
}
"""How many parameters each part has as published: what proves the numbers above."""
_DEV = {**PARAMETERS["flux-schnell"], "transformer": 11_901_408_320}
PARAMETERS |= {"flux-dev": _DEV, "flux-kontext": _DEV}
