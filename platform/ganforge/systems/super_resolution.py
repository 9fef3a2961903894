"""What the super-resolution systems share: settings of the data, metrics, samples, deployment."""

import copy
from typing import Any, ClassVar, Literal, Self

from pydantic import model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from ganforge.data.batch import Batch
from ganforge.data.settings import DataSettings
from ganforge.layers import upsample_bicubic, upsample_nearest
from ganforge.metrics.image_quality import bicubic as enlarged
from ganforge.metrics.image_quality import measure
from ganforge.networks.foreign import TrainableForeign
from ganforge.networks.residual import RRDBNet, SRResNet
from ganforge.reach import Span
from ganforge.schedule import Progress
from ganforge.settings import nearest, parse_json, setting, shown
from ganforge.systems.averages import AverageSettings
from ganforge.systems.base import Metric, System
from ganforge.systems.optimizers import Adam
from ganforge.systems.perceptual import Perceptual

#: generators of this package, and what a published one's name begins with
OWN = ("srresnet", "rrdbnet")
FOREIGN = "spandrel:"


class SuperResolutionSettings(AverageSettings):
    """Crops of one size at every stage: `stages.K.resolution` is the side of the target crop."""

    grows: ClassVar[bool] = False

    scale: Literal[2, 3, 4, 8] = setting(4, "super-resolution factor")
    width: int = setting(64, "channels of the generator's features", ge=1)
    generator: Adam = setting(Adam(), "the generator's optimizer", per_stage=True)
    average_decay: float = setting(
        0.0,
        "decay per step of the averaged generator; 0: the generator itself",
        ge=0,
        lt=1,
        per_stage=True,
    )
    data: DataSettings = setting(DataSettings(view="crop"), "images")

    @model_validator(mode="after")
    def _check_sides(self) -> Self:
        first = self.stages[0].resolution
        for number, stage in enumerate(self.stages):
            if stage.resolution != first:
                raise ValueError(
                    f"stages.{number}.resolution = {stage.resolution}: must be that of stage 0 "
                    f"({first}), since this system's networks do not grow"
                )
        if first % self.scale:
            raise ValueError(
                f"stages.0.resolution = {first}: must be a multiple of scale ({self.scale})"
            )
        return self


class CropSettings(SuperResolutionSettings):
    """What SRGAN and ESRGAN share: crops for a critic of 16-fold reduction, and three terms."""

    generator_architecture: str = setting(
        "srresnet",
        "the generator: srresnet, rrdbnet, or spandrel:FAMILY, a published network such as "
        "spandrel:SwinIR",
        added=True,
    )
    generator_shape: str = setting(
        "default",
        "of spandrel:FAMILY, what differs from its class: default, or arguments as JSON, such as "
        '{"embed_dim": 60}',
        added=True,
    )
    bicubic_skip: bool = setting(False, "the generator adds to the bicubic enlargement")
    critic_width: int = setting(64, "channels of the critic's first convolution", ge=1)
    critic_dense: int = setting(1024, "width of the critic's dense layer", ge=1)
    perceptual: Perceptual = setting(Perceptual(), "content term")
    adversarial_weight: float = setting(
        1e-3, "weight of the adversarial term; 0 trains no critic", ge=0, per_stage=True
    )
    pixel_weight: float = setting(
        0.0, "weight of the pixel term in adversarial stages", ge=0, per_stage=True
    )
    data: DataSettings = setting(DataSettings(view="crop", rotate=True), "images")
    images_per_epoch: int | None = setting(
        160_000, "length of an epoch; none: crops that tile the images", ge=1, per_stage=True
    )

    @model_validator(mode="after")
    def _check_crop(self) -> Self:
        side = self.stages[0].resolution
        if side % 16:
            raise ValueError(f"stages.0.resolution = {side}: must be a multiple of 16")
        return self

    @model_validator(mode="after")
    def _check_generator(self) -> Self:
        named, shape = self.generator_architecture, self.generator_shape
        if named not in OWN and not named.startswith(FOREIGN):
            near = nearest(named, OWN)
            hint = f"; did you mean {near}?" if near else ""
            raise ValueError(
                f"generator_architecture = {shown(named)}: must be {', '.join(OWN)}, or "
                f"{FOREIGN}FAMILY, such as {FOREIGN}SwinIR{hint}"
            )
        if shape != "default" and named in OWN:
            raise ValueError(
                f"generator_shape = {shown(shape)}: is for {FOREIGN}FAMILY; {named} has width and "
                "blocks"
            )
        self.foreign_arguments()
        return self

    def foreign_arguments(self) -> dict[str, Any]:
        """What `generator_shape` says; ValueError where it is not such a text."""
        if self.generator_shape == "default":
            return {}
        try:
            found = parse_json(self.generator_shape)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise ValueError(
                f"generator_shape = {shown(self.generator_shape)}: must be default, or arguments "
                'of the family\'s class as JSON, such as {"embed_dim": 60}'
            )
        return found

    @property
    def packages(self) -> tuple[str, ...]:
        return () if self.generator_architecture in OWN else ("spandrel", "einops")


class SuperResolution(System):
    """A generator of low-resolution images, owned by the player named "generator"."""

    Data = "super_resolution"
    metric: ClassVar[Metric] = Metric("validation/psnr", "max")
    metrics = (Metric("validation/ssim", "max"), Metric("validation/swd", "min"))
    paired = True
    sample_titles = ("low resolution", "bicubic", "generated", "high resolution")
    generator_weights = ("adversarial_weight", "pixel_weight", "perceptual.weight")

    @classmethod
    def source_scale(cls, settings: SuperResolutionSettings) -> int:
        return settings.scale

    def generated(self, batch: Batch, progress: Progress) -> Tensor:
        assert batch.source is not None
        return self.averaged()(batch.source).clamp(-1, 1)

    def sample(self, batch: Batch, progress: Progress) -> list[Tensor]:
        assert batch.source is not None
        scale = self.settings.scale
        nearest = upsample_nearest(batch.source, scale)
        bicubic = upsample_bicubic(batch.source, scale)
        return [nearest, bicubic, self.generated(batch, progress), batch.target]

    def validate(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        return measure(self.generated(batch, progress), batch, self.settings.scale)

    def against_target(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        assert batch.source is not None
        baseline = enlarged(batch.source, self.settings.scale)
        return super().against_target(batch, progress) | {"_bicubic": baseline}

    def deploy(self, progress: Progress) -> nn.Module:
        network = self.averaged()
        tileable = hasattr(network, "receptive_field")
        return TileableGenerator(network) if tileable else ClampedGenerator(network)


class ClampedGenerator(nn.Module):
    """A copy of a generator whose output is clamped to [-1, 1].

    Sides are padded to whole multiples of `multiple` by repeating the border, and the output is
    cropped again: networks that halve images take no other sides.
    """

    def __init__(self, network: nn.Module, multiple: int = 1):
        super().__init__()
        self.network, self.multiple = copy.deepcopy(network), multiple
        if isinstance(self.network, TrainableForeign):
            self.network.write_derived()

    def forward(self, images: Tensor) -> Tensor:
        if self.multiple == 1:
            return self.network(images).clamp(-1, 1)
        height, width = images.shape[-2:]
        right, below = -width % self.multiple, -height % self.multiple
        if right or below:
            images = F.pad(images, (0, right, 0, below), mode="replicate")
        return self.network(images)[..., :height, :width].clamp(-1, 1)


class TileableGenerator(ClampedGenerator):
    """A clamped generator whose pixels depend on a bounded part of the image."""

    def receptive_field(self, span: Span) -> Span:
        """Source positions that target positions depend on, for enlargement in tiles."""
        assert isinstance(self.network, SRResNet | RRDBNet)
        return self.network.receptive_field(span)
