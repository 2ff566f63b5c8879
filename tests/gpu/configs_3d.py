"""The published sizes of Wan 2.1 image to video and of Shap-E; data, nothing downloaded.

Written down from the models' own repositories, Wan-AI/Wan2.1-I2V-14B-480P-Diffusers and
openai/shap-e, as :mod:`tests.gpu.configs` is.
"""

from __future__ import annotations

from tests.gpu.configs import WAN_TRANSFORMER, Config

WAN_IMAGE_TRANSFORMER: Config = {
    **WAN_TRANSFORMER,
    # The noise, the picture's latents, and for each of four frames whether it is given.
    "in_channels": 36,
    "image_dim": 1280,
    "added_kv_proj_dim": 5120,
}

CLIP_VIT_H: Config = {
    "hidden_size": 1280,
    "intermediate_size": 5120,
    "projection_dim": 1024,
    "num_hidden_layers": 32,
    "num_attention_heads": 16,
    "image_size": 224,
    "patch_size": 14,
    "hidden_act": "gelu",
}
"""CLIP ViT-H/14's picture half."""

SHAP_E_PRIOR: Config = {
    "num_attention_heads": 16,
    "attention_head_dim": 64,
    "num_layers": 24,
    "embedding_dim": 1024,
    "num_embeddings": 1024,
    "additional_embeddings": 0,
    "time_embed_act_fn": "gelu",
    "norm_in_type": "layer",
    "encoder_hid_proj_type": None,
    "added_emb_type": None,
    "time_embed_dim": 4096,
    "embedding_proj_dim": 768,
    "clip_embed_dim": 2048,
}

SHAP_E_RENDERER: Config = {
    "param_shapes": ((256, 93), (256, 256), (256, 256), (256, 256)),
    "d_latent": 1024,
    "d_hidden": 256,
    "n_output": 12,
    "n_hidden_layers": 6,
    "insert_direction_at": 4,
}

SHAP_E_SCHEDULER: Config = {
    "num_train_timesteps": 1024,
    "beta_schedule": "exp",
    "prediction_type": "sample",
    "use_karras_sigmas": True,
    "clip_sample": True,
    "clip_sample_range": 1.0,
}

PARAMETERS: dict[str, dict[str, int]] = {
    "wan-i2v": {
        "transformer": 16_394_878_784,
        "vae": 126_892_531,
        "text_encoder": 5_680_910_336,
        "image_encoder": 630_766_080,
    },
    "shap-e": {
        "prior": 315_696_128,
        "text_encoder": 123_650_304,
        "shap_e_renderer": 226_297_286,
    },
}
"""How many parameters each part has: those of Wan fill the 90.1 GB of its repository, those of
Shap-E the files of its three parts, of 1.2 GB, 472 and 863 MiB in float32."""
