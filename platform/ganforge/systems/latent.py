"""What systems from a latent to an image share: settings, fixed latents, samples, deployment."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, Self

import torch
from pydantic import model_validator
from torch import Tensor, nn

from ganforge.data.batch import Batch
from ganforge.data.settings import DataSettings, ValidationSettings
from ganforge.draws import latents
from ganforge.networks.convolutional import Norm
from ganforge.schedule import Progress
from ganforge.settings import setting
from ganforge.systems.augmented import AugmentedSettings
from ganforge.systems.averages import OptionalAverageSettings
from ganforge.systems.base import Metric, System
from ganforge.systems.settings import StageSettings, SystemSettings, constant_problems


class LatentSettings(SystemSettings):
    """Defaults are for handwritten digits."""

    latent_size: int = setting(100, "Z: numbers in a latent, from N(0, 1)", ge=1)
    channels: int = setting(1, "image channels: 3 colour, 1 grey", ge=1, le=4)
    data: DataSettings = setting(DataSettings(source="digits"), "images")
    validation: ValidationSettings = setting(
        ValidationSettings(images=64, samples=32), "held-out images"
    )
    on_collapse: Literal["report", "stop"] = setting(
        "report",
        "when generated images are nearly all alike at a validation: train on, or end the run",
        weights=False,
        added=True,
    )
    collapse_below: float = setting(
        0.03,
        "validation/diversity_proxy below which a generator has collapsed: the distances between "
        "generated images by those between real ones",
        gt=0,
        lt=1,
        weights=False,
        added=True,
    )


class ConvolutionalSettings(LatentSettings, AugmentedSettings, OptionalAverageSettings):
    """Settings of DCGAN's networks (arXiv:1511.06434), whose images have one side 2^k ≥ 16."""

    features: int = setting(64, "f: channels of the outermost layers", ge=1)
    norm: Norm = setting("batch", "the generator's normalisation: batch, instance or none")
    stages: tuple[StageSettings, ...] = setting(
        (StageSettings(resolution=64, epochs=50),), "the stages, in order"
    )

    @model_validator(mode="after")
    def _check_sides(self) -> Self:
        side = self.stages[0].resolution
        if side < 16 or side & (side - 1):
            raise ValueError(f"stages.0.resolution = {side}: must be a power of two, at least 16")
        if problems := constant_problems(self.stages):
            raise ValueError("\n".join(problems))
        return self


class LatentSystem(System):
    """A subclass has `self.generator`; `images` calls it, and is overridden for other arguments."""

    Data = "images"
    metric = Metric("validation/swd", "min")
    metrics = (Metric("validation/fid_proxy", "min"), Metric("validation/kid_proxy", "min"))
    set_metrics = ("swd", "ms_ssim", "fid", "kid", "diversity")
    sample_titles = ("generated", "real")
    takes = "latent"
    settings: Any

    def draw_latents(self, batch: Batch) -> Tensor:
        """Fresh latents (N, Z) for a batch, from the default generator."""
        like = batch.target
        return torch.randn(len(batch), self.settings.latent_size, device=like.device).to(like.dtype)

    def images(
        self, network: nn.Module, latent: Tensor, batch: Batch, progress: Progress
    ) -> Tensor:
        """Images (N, C, r, r) of a generator for latents (N, Z), and the batch's labels if any."""
        return network(latent)

    def fixed_images(self, kind: str, batch: Batch, progress: Progress) -> Tensor:
        """Images from latents that are a function of (seed, kind, batch.index) alone."""
        assert batch.index is not None
        latent = latents(self.settings.latent_size, batch.index, self.settings.seed, kind)
        with eval_mode(self.averaged()) as network:
            made = self.images(network, latent.to(batch.target.dtype), batch, progress)
        return made.clamp(-1, 1)

    def generated(self, batch: Batch, progress: Progress) -> Tensor:
        return self.fixed_images("validation", batch, progress)

    def sample(self, batch: Batch, progress: Progress) -> list[Tensor]:
        return [self.fixed_images("samples", batch, progress), batch.target]

    def deploy(self, progress: Progress) -> nn.Module:
        return LatentGenerator(
            self.averaged(), self.settings.latent_size, getattr(self.settings, "num_classes", None)
        )


class LatentGenerator(nn.Module):
    """A deployed generator: latents (N, Z), with classes also labels (N,), to images in [-1, 1].

    `latent_size` is Z; `num_classes` is None for a generator without labels.
    """

    def __init__(self, network: nn.Module, latent_size: int, num_classes: int | None = None):
        super().__init__()
        self.network = copy.deepcopy(network).requires_grad_(False).eval()
        self.latent_size, self.num_classes = latent_size, num_classes

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        given = (latents,) if self.num_classes is None else (latents, labels)
        return self.network(*given).clamp(-1, 1)


@contextmanager
def eval_mode(network: nn.Module) -> Iterator[nn.Module]:
    """The network in eval mode: batch norm by its running statistics."""
    training = network.training
    try:
        yield network.eval()
    finally:
        network.train(training)
