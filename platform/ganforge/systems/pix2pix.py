"""Pix2Pix: image-to-image translation of aligned pairs (arXiv:1611.07004).

ganforge train pix2pix --data pairs
"""

from typing import Any, ClassVar, Self

import torch
from pydantic import model_validator
from torch import Tensor, nn

from ganforge.assets import Assets
from ganforge.data.batch import Batch
from ganforge.data.settings import PairedSettings
from ganforge.draws import reseed
from ganforge.losses import binary_cross_entropy, label_grid, mean_absolute
from ganforge.metrics.image_quality import WINDOW, psnr, ssim
from ganforge.networks.discriminators import PatchGAN
from ganforge.networks.unet import Pix2PixUNet
from ganforge.schedule import Progress
from ganforge.settings import setting
from ganforge.systems.base import Metric, System
from ganforge.systems.optimizers import Adam
from ganforge.systems.players import make_player
from ganforge.systems.settings import StageSettings
from ganforge.systems.super_resolution import ClampedGenerator
from ganforge.systems.translation import ADAM, TranslationSystemSettings, decayed


class Settings(TranslationSystemSettings):
    """Defaults are those of section 6.2 and its published code."""

    system: str = setting("pix2pix", "this system")
    test_dropout: bool = setting(True, "dropout stays on where images are shown and measured")
    test_statistics: bool = setting(True, "images are then normalised by their own statistics")
    generator: Adam = setting(ADAM, "the generator's optimizer", per_stage=True)
    discriminator: Adam = setting(ADAM, "the discriminator's optimizer", per_stage=True)
    adversarial_weight: float = setting(
        1.0, "weight of the adversarial term; 0 trains no discriminator", ge=0, per_stage=True
    )
    l1_weight: float = setting(100.0, "weight of mean |y - G(x)|", ge=0, per_stage=True)
    data: PairedSettings = setting(PairedSettings(jitter=286), "pairs of images")  # pyright: ignore

    @model_validator(mode="after")
    def _check_side(self) -> Self:
        side = self.stages[0].resolution
        if side & (side - 1) or side < 32:
            raise ValueError(f"stages.0.resolution = {side}: must be a power of two, at least 32")
        return self


class Pix2Pix(System):
    """Equation 4 of arXiv:1611.07004: the conditional GAN of equation 1 and λ times L1."""

    Settings = Settings
    capturable = True
    Data = "paired"
    generator_weights = ("adversarial_weight", "l1_weight")
    metric = Metric("validation/psnr", "max")
    metrics = (
        Metric("validation/l1", "min"),
        Metric("validation/ssim", "max"),
        Metric("validation/swd", "min"),
    )
    paired = True
    sample_titles = ("source", "generated", "target")
    settings: Settings

    #: `paper` is the defaults.
    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {},
        "described": {
            "batch_size": 16,
            "shards": 4,
            "decay_epochs": None,
            "data.jitter": None,
            "data.colour_jitter": 0.2,
            "precision": "bfloat16",
            "stages": (StageSettings(resolution=256, epochs=500),),
        },
        "quick": {
            "width": 16,
            "discriminator_width": 8,
            "batch_size": 4,
            "shards": 2,
            "images_per_epoch": 512,
            "generator": {"learning_rate": 1e-3, "betas": (0.5, 0.999), "epsilon": 1e-8},
            "discriminator": {"learning_rate": 5e-4, "betas": (0.5, 0.999), "epsilon": 1e-8},
            "l1_weight": 20.0,
            "average_decay": 0.98,
            "test_dropout": False,
            "test_statistics": False,
            "decay_epochs": None,
            "data.view": "crop",
            "data.edge_sigma": 1.5,
            "data.jitter": None,
            "data.max_side": 224,
            "validation.fraction": 0.3,
            "validation.images": 8,
            "validation.samples": 4,
            "stages": (StageSettings(resolution=64, epochs=5),),
        },
    }

    def __init__(self, settings: Settings, assets: Assets):
        super().__init__(settings, assets)
        s = settings
        self.generator = Pix2PixUNet(
            s.channels,
            s.stages[0].resolution,
            s.width,
            test_dropout=s.test_dropout,
            test_statistics=s.test_statistics,
        )
        self.discriminator = PatchGAN(2 * s.channels, s.discriminator_width)
        self.init_block(0, "generator", self.generator.initialise)
        self.init_block(0, "discriminator", self.discriminator.initialise)
        self.players = (
            make_player(s, "discriminator", self.discriminator, factor=decayed),
            make_player(s, "generator", self.generator, factor=decayed, averaged=True),
        )

    def losses(self, player: str, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        s: Settings = progress.settings
        adversarial = s.adversarial_weight and progress.stage.task != "pixel"
        assert batch.source is not None
        if player == "discriminator":
            if not adversarial:
                return {}
            with torch.no_grad():
                fake = self.generator(batch.source)
            real_logits = self.discriminator(torch.cat([batch.source, batch.target], 1))
            fake_logits = self.discriminator(torch.cat([batch.source, fake], 1))
            # halved, which slows the discriminator (section 3.3)
            return {
                "real": binary_cross_entropy(real_logits, label_grid(real_logits, 1.0)) / 2,
                "fake": binary_cross_entropy(fake_logits, label_grid(fake_logits, 0.0)) / 2,
            }
        fake = self.generator(batch.source)
        terms = {"l1": s.l1_weight * mean_absolute(batch.target, fake)}
        if adversarial:
            logits = self.discriminator(torch.cat([batch.source, fake], 1))
            value = binary_cross_entropy(logits, label_grid(logits, 1.0))
            terms["adversarial"] = s.adversarial_weight * value
        return terms

    def generated(self, batch: Batch, progress: Progress) -> Tensor:
        reseed(self.settings.seed, "dropout")
        return self.averaged()(batch.source)

    def sample(self, batch: Batch, progress: Progress) -> list[Tensor]:
        assert batch.source is not None
        return [batch.source, self.generated(batch, progress), batch.target]

    def validate(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        fake = self.generated(batch, progress)
        found = {
            "l1": (fake - batch.target).abs().mean(dim=(1, 2, 3)),
            "psnr": psnr(fake, batch.target, 0),
        }
        return found | ({"ssim": ssim(fake, batch.target, 0)} if fake.shape[-1] >= WINDOW else {})

    def against_target(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        assert batch.source is not None
        return super().against_target(batch, progress) | {"_source": batch.source}

    def deploy(self, progress: Progress) -> nn.Module:
        """Without dropout: the same image each time."""
        made = ClampedGenerator(self.averaged(), self.settings.stages[0].resolution)
        assert isinstance(made.network, Pix2PixUNet)
        made.network.test_dropout = False
        return made
