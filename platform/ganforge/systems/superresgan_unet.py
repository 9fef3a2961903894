"""SuperResGANUnet: a U-Net that refines 64 pixels to 128, after Pix2Pix (arXiv:1611.07004).

ganforge train superresgan_unet --data photos
"""

from functools import partial
from typing import Any, ClassVar, Literal, Self

import torch
from pydantic import model_validator
from torch import Tensor, nn

from ganforge.assets import Assets
from ganforge.data.batch import Batch
from ganforge.data.settings import DataSettings
from ganforge.losses import (
    feature_matching,
    least_squares,
    mean_absolute,
    paired_feature_matching,
)
from ganforge.networks.discriminators import RefinementCritic
from ganforge.networks.unet import RefinementUNet
from ganforge.schedule import Progress
from ganforge.settings import setting
from ganforge.systems.history import Histories, ReplayPool, WeightHistory, shard_of
from ganforge.systems.optimizers import Adam
from ganforge.systems.players import make_player
from ganforge.systems.rates import linear_to_zero
from ganforge.systems.settings import StageSettings
from ganforge.systems.super_resolution import (
    SuperResolution,
    SuperResolutionSettings,
)


class Settings(SuperResolutionSettings):
    """Defaults are those of the reference training."""

    system: str = setting("superresgan_unet", "this system")
    scale: Literal[2, 4, 8] = setting(2, "super-resolution factor")  # pyright: ignore
    head: int = setting(512, "channels between the U-Net and its enlargement", ge=1)
    levels: int = setting(5, "halvings of the U-Net", ge=2, le=8)
    critics: Literal["valid", "patch", "global", "global_and_patch"] = setting(
        "valid", "what is scored: windows of features, patches, whole images, or both"
    )
    critic_width: int = setting(64, "channels of a critic's first convolution", ge=1)
    objective: Literal["least_squares", "feature_matching", "paired_features"] = setting(
        "paired_features", "the generator's adversarial term"
    )
    adversarial_weight: float = setting(
        0.01, "weight of that term; 0 trains no critic", ge=0, per_stage=True
    )
    l1_weight: float = setting(1.0, "weight of mean |hr - G(lr)|", ge=0, per_stage=True)
    l1_epochs: int | None = setting(
        None, "epochs of the stage until the weight is 0, linearly; none: constant", ge=1
    )
    kernels: int = setting(0, "kernels of minibatch discrimination; 0: none", ge=0)
    kernel_dimensions: int = setting(5, "dimensions of each kernel", ge=1)
    pool_size: int = setting(0, "earlier fakes that each shard's critic sees again", ge=0)
    history_weight: float = setting(0.0, "weight of historical averaging", ge=0, per_stage=True)
    generator: Adam = setting(
        Adam(learning_rate=2e-4, betas=(0.5, 0.999)), "the generator's optimizer", per_stage=True
    )
    critic: Adam = setting(
        Adam(learning_rate=5e-5, betas=(0.5, 0.999)), "the critics' optimizer", per_stage=True
    )
    batch_size: int = setting(32, "images per step over all workers", ge=1, per_stage=True)
    data: DataSettings = setting(DataSettings(), "images")
    images_per_epoch: int | None = setting(
        512_000, "length of an epoch; none: all images", ge=1, per_stage=True
    )
    stages: tuple[StageSettings, ...] = setting(
        (StageSettings(resolution=128, epochs=100),), "the stages, in order"
    )

    @property
    def counts_epochs(self) -> bool:
        return super().counts_epochs or self.l1_epochs is not None

    @model_validator(mode="after")
    def _check_target(self) -> Self:
        side = self.stages[0].resolution
        if side < 8 or side & (side - 1):
            raise ValueError(f"stages.0.resolution = {side}: must be a power of two, at least 8")
        return self


class SuperResGANUnet(SuperResolution):
    """A U-Net (arXiv:1611.07004, section 3.2) trained on L1, critics' features (arXiv:1606.03498,
    section 3.1) or least squares (arXiv:1611.04076, equation 2)."""

    generator_weights = ("adversarial_weight", "l1_weight", "history_weight")
    Settings = Settings
    settings: Settings
    shard_buffers = ("pool.images", "pool.count")

    #: `planned`: the extensions that the description names and its training leaves out.
    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
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
            "generator": {"learning_rate": 2e-3, "betas": (0.9, 0.99), "epsilon": 1e-8},
            "critic": {"learning_rate": 1e-3, "betas": (0.5, 0.999), "epsilon": 1e-8},
            "average_decay": 0.98,
            "data.view": "crop",
            "stages": (StageSettings(resolution=64, epochs=12),),
            "data.max_side": 224,
            "validation.fraction": 0.3,
            "validation.images": 4,
            "validation.samples": 3,
        },
    }

    def __init__(self, settings: Settings, assets: Assets):
        super().__init__(settings, assets)
        s, side = settings, settings.stages[0].resolution
        self.generator = RefinementUNet(s.channels, s.width, s.head, s.scale, s.levels)
        kinds = ("global", "patch") if s.critics == "global_and_patch" else (s.critics,)
        self.critics = nn.ModuleDict(
            {
                kind: RefinementCritic(
                    s.channels, side, s.critic_width, kind, s.kernels, s.kernel_dimensions
                )
                for kind in kinds
            }
        )
        if s.pool_size:
            self.pool = ReplayPool(s.shards, s.pool_size, (s.channels, side, side))
        self.histories = Histories()
        self.init_block(0, "generator", self.generator.initialise)
        for kind, critic in self.critics.items():
            self.init_block(0, f"critic.{kind}", critic.initialise)  # pyright: ignore
        self.players = (
            make_player(s, "generator", self.generator, averaged=True),
            make_player(s, "critic", self.critics),
        )
        for player in self.players:
            player.after_step = partial(self.histories.remember, player.name)

    def grow(self, index: int) -> None:
        """The weights' history begins with the first weights."""
        stages = range(len(self.settings.stages))
        if index == 0 and any(self.settings.at(k).history_weight for k in stages):
            for player in self.players:
                self.histories[player.name] = WeightHistory(player.module)

    def losses(self, player: str, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        s: Settings = progress.settings
        assert batch.source is not None
        if player == "critic" and (progress.stage.task == "pixel" or not s.adversarial_weight):
            return {}
        if player == "critic":
            with torch.no_grad():
                fake = self.generator(batch.source)
            if s.pool_size:
                fake = self.pool.swap(fake, shard_of(batch, progress))
            terms = {}
            for kind, critic in self.critics.items():
                terms[f"real_{kind}"] = least_squares(critic(batch.target), 1.0)
                terms[f"fake_{kind}"] = least_squares(critic(fake), 0.0)
            return terms | self.histories.term(player, self.critics, s.history_weight)
        fake = self.generator(batch.source)
        weight = s.l1_weight * linear_to_zero(progress, 0, s.l1_epochs)
        terms = {"l1": weight * mean_absolute(batch.target, fake)}
        if s.adversarial_weight and progress.stage.task != "pixel":
            for kind, critic in self.critics.items():
                value = self._adversarial(critic, batch.target, fake, s.objective)  # pyright: ignore
                terms[f"adversarial_{kind}"] = s.adversarial_weight * value
        return terms | self.histories.term(player, self.generator, s.history_weight)

    @staticmethod
    def _adversarial(
        critic: RefinementCritic, real: Tensor, fake: Tensor, objective: str
    ) -> Tensor:
        if objective == "least_squares":
            return least_squares(critic(fake), 1.0)
        matching = feature_matching if objective == "feature_matching" else paired_feature_matching
        with torch.no_grad():
            wanted = critic.features(real)
        return matching(wanted, critic.features(fake))
