"""Presets of the super-resolution systems; `paper` is a system's defaults."""

from typing import Any

from ganforge.systems.settings import StageSettings

Presets = dict[str, dict[str, Any]]
_QUICK_ADAM = {"learning_rate": 2e-3, "betas": (0.9, 0.99), "epsilon": 1e-8}
_QUICK_DATA: dict[str, Any] = {
    "data.max_side": 224,
    "validation.fraction": 0.3,
    "validation.images": 4,
    "validation.samples": 3,
}
_QUICK_STAGES = (
    StageSettings(resolution=64, epochs=4, task="pixel"),
    StageSettings(resolution=64, epochs=2),
)

SRGAN: Presets = {
    "paper": {},
    "described": {
        "tanh": True,
        "images_per_epoch": None,
        "stages": (StageSettings(resolution=96, epochs=100),),
    },
    "quick": {
        "scale": 2,
        "width": 16,
        "blocks": 4,
        "bicubic_skip": True,
        "critic_width": 8,
        "critic_dense": 32,
        "batch_size": 8,
        "shards": 2,
        "images_per_epoch": 512,
        "generator": {**_QUICK_ADAM, "learning_rate": 4e-4},
        "discriminator": {"learning_rate": 1e-3, "betas": (0.5, 0.999), "epsilon": 1e-8},
        "average_decay": 0.98,
        "perceptual.network": "none",
        "pixel_distance": "l1",
        "pixel_weight": 1.0,
        "stages": _QUICK_STAGES,
        **_QUICK_DATA,
    },
    "distortion": {
        "scale": 2,
        "width": 32,
        "blocks": 4,
        "bicubic_skip": True,
        "batch_size": 8,
        "shards": 2,
        "images_per_epoch": 2048,
        "generator": {"learning_rate": 5e-4, "betas": (0.9, 0.99), "epsilon": 1e-8},
        "average_decay": 0.99,
        "perceptual.network": "none",
        "pixel_distance": "l1",
        "stages": (
            StageSettings(resolution=64, epochs=4, task="pixel"),
            StageSettings(
                resolution=64,
                epochs=1,
                task="pixel",
                overrides={"generator.learning_rate": 1e-4},
            ),
        ),
    },
}

ESRGAN: Presets = {
    "paper": {},
    "described": {
        "objective": "wasserstein",
        "critic_norm": False,
        "generator": {"learning_rate": 1e-4, "betas": (0.0, 0.9), "epsilon": 1e-8},
        "critic": {"learning_rate": 1e-4, "betas": (0.0, 0.9), "epsilon": 1e-8},
        "halvings": (),
        "perceptual.distance": "mse",
        "precision": "bfloat16",
        "images_per_epoch": None,
        "stages": (StageSettings(resolution=96, epochs=100),),
    },
    "quick": {
        "scale": 2,
        "width": 16,
        "growth": 8,
        "blocks": 2,
        "initial_scale": 0.5,
        "bicubic_skip": True,
        "critic_width": 8,
        "critic_dense": 32,
        "batch_size": 8,
        "shards": 2,
        "images_per_epoch": 256,
        "generator": _QUICK_ADAM,
        "critic": {"learning_rate": 1e-3, "betas": (0.5, 0.999), "epsilon": 1e-8},
        "average_decay": 0.98,
        "perceptual.network": "none",
        "pixel_weight": 1.0,
        "stages": _QUICK_STAGES,
        **_QUICK_DATA,
    },
}

SUPERRESGAN_UNET: Presets = {
    "paper": {},
    "described": {},
    "least_squares": {"objective": "least_squares", "adversarial_weight": 0.025},
    "two_critics": {
        "objective": "least_squares",
        "critics": "global_and_patch",
        "adversarial_weight": 0.025,
        "l1_weight": 0.5,
    },
    "planned": {
        "objective": "feature_matching",
        "critics": "global_and_patch",
        "l1_weight": 0.5,
        "l1_epochs": 50,
        "kernels": 32,
        "pool_size": 50,
        "history_weight": 1e-3,
    },
    "quick": {
        "width": 16,
        "head": 32,
        "levels": 3,
        "critics": "patch",
        "critic_width": 8,
        "batch_size": 8,
        "shards": 2,
        "images_per_epoch": 512,
        "generator": _QUICK_ADAM,
        "critic": {"learning_rate": 1e-3, "betas": (0.5, 0.999), "epsilon": 1e-8},
        "average_decay": 0.98,
        "data.view": "crop",
        "stages": (StageSettings(resolution=64, epochs=12),),
        **_QUICK_DATA,
    },
}
