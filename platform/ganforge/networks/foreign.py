"""Published super-resolution networks that spandrel implements, as generators that can be trained.

A network is what spandrel's loader makes of a table of tensors, so that its weights, under their
own names, are opened again by spandrel as the network that was trained. Which network it is is said
by a family, a scale, a number of channels and a shape: the arguments of the family's class that
differ from its defaults.
"""

import inspect
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NamedTuple, Self, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganforge.quiet import quiet

if TYPE_CHECKING:
    from spandrel import ImageModelDescriptor

#: Families that enlarge images, by spandrel's id, and what their classes do not take as default:
#: the way of enlarging where that is none, the published width where there is none.
FAMILIES: dict[str, dict[str, Any]] = {
    "ATD": {"upsampler": "pixelshuffle"},
    "CRAFT": {},
    "Compact": {},
    "DAT": {},
    "DCTLSA": {},
    "DITN": {},
    "DRCT": {"upsampler": "pixelshuffle"},
    "ESRGAN": {},
    "FDAT": {},
    "GRL": {"upsampler": "pixelshuffle"},
    "HAT": {},
    "MoESR": {},
    "MoSR": {},
    "OmniSR": {},
    "PLKSR": {},
    "RCAN": {},
    "RGT": {},
    "RealCUGAN": {},
    "SAFMN": {"dim": 36},
    "SPAN": {},
    "SeemoRe": {},
    "SwiftSRGAN": {},
    "Swin2SR": {"upsampler": "pixelshuffle", "window_size": 8},
    "SwinIR": {"upsampler": "pixelshuffle", "window_size": 8},
}
_SCALES = ("scale", "up_scale", "upscale", "upscale_factor", "upscaling_factor")
_CHANNELS = (
    "img_channel", "in_ch", "in_channels", "in_chans", "in_nc", "inp_channels", "n_colors",
    "num_in_ch", "num_out_ch", "out_ch", "out_channels", "out_nc",
)  # fmt: skip
#: under which names ganforge stores a generator that holds such a network
_PREFIXES = ("generator/network.", "generator.network.", "network.network.", "network.")
_PROBE = 32


class ForeignError(ValueError):
    """Why a network is unavailable, and what to do: the rest of a line that names the setting."""


class Known(NamedTuple):
    """What a table of tensors is: a family's name here, its shape, scale and channels, and the
    tensors under the names of the family's own class."""

    name: str
    shape: dict[str, Any]
    scale: int
    channels: int
    tensors: dict[str, Tensor]


class ForeignGenerator(nn.Module):
    """A network that knows images in [0, 1]: (N, C, H, W) in [-1, 1] in, (N, C, s·H, s·W) out.

    The output is not clamped. Sides that the network does not take are padded at the right and
    below by repeating the border, and the output is cropped.
    """

    def __init__(self, found: "ImageModelDescriptor"):
        super().__init__()
        self.network, self.scale = found.model.float(), found.scale
        self.channels = found.input_channels
        needed = found.size_requirements
        self.least, self.multiple, self.square = needed.minimum, needed.multiple_of, needed.square

    def forward(self, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        tall, wide = (self._side(side) for side in (height, width))
        if self.square:
            tall = wide = max(tall, wide)
        source = (images + 1) / 2
        if (tall, wide) != (height, width):
            source = F.pad(source, (0, wide - width, 0, tall - height), mode="replicate")
        # in the layout that views of the families' code expect
        made: Tensor = self.network(source.contiguous())
        return made[..., : height * self.scale, : width * self.scale] * 2 - 1

    def _side(self, side: int) -> int:
        side = max(side, self.least)
        return side + -side % max(self.multiple, 1)

    def takes(self, side: int) -> bool:
        """Whether square images of this side need no padding."""
        return self._side(side) == side


class TrainableForeign(ForeignGenerator):
    """The same network as a generator in training: a function of its state and its input.

    Dropout and dropped paths are off: they are of the recipe by which a family was trained once,
    are not in its weights, and some families draw them from generators that no seed reaches. With
    `keep_statistics` batch norm uses the statistics that it has, as in evaluation: those of a file
    were taken over large batches, and a few small crops would replace them. Without, they are those
    of the images that are given at a time. A network that writes into its own weights when it is
    evaluated has them as they were afterwards: measuring a state does not change it.
    """

    def __init__(
        self,
        found: "ImageModelDescriptor",
        new: Callable[[], nn.Module],
        *,
        keep_statistics: bool = False,
    ):
        super().__init__(found)
        self._new, self._keep_statistics = new, keep_statistics
        self._constants: dict[str, Tensor] = {}
        self._derived: tuple[str, ...] = ()
        _switch_off_drops(self.network)
        self.requires_grad_(True)
        self._derived = self._find_derived()
        self.train()

    def initialise(self) -> None:
        """Draw the weights anew by the rule of the family's own class."""
        with quiet():
            self.network.load_state_dict(self._new().state_dict())

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        if self._keep_statistics:
            for part in _batch_norms(self.network):
                part.eval()
        return self

    def forward(self, images: Tensor) -> Tensor:
        if self.training:
            if not self._constants:
                self._constants = {n: b.clone() for n, b in self._fixed_buffers()}
            return super().forward(images)
        with self._unchanged():
            return super().forward(images)

    def restore_constants(self) -> None:
        """Buffers that no forward pass changes, such as masks, as they were: their mean over shards
        is rounded where the number of shards is not a power of two. After each step."""
        for name, buffer in self._fixed_buffers():
            if name in self._constants:
                buffer.copy_(self._constants[name])

    def write_derived(self) -> None:
        """Let the network write the weights that it derives from others, for good: to deploy it."""
        if self._derived:
            self._derived = ()
            self.eval()
            self._probe()

    def _fixed_buffers(self) -> Iterator[tuple[str, Tensor]]:
        moving: set[int] = set()
        if not self._keep_statistics:
            moving = {id(b) for part in _batch_norms(self.network) for b in part.buffers()}
        for name, buffer in self.network.named_buffers():
            if id(buffer) not in moving:
                yield name, buffer

    def _find_derived(self) -> tuple[str, ...]:
        """The parameters that an evaluation writes."""
        self.eval()
        before = {name: tensor.clone() for name, tensor in self.network.state_dict().items()}
        self._probe()
        after = self.network.state_dict()
        found = tuple(name for name in before if not torch.equal(before[name], after[name]))
        parameters = dict(self.network.named_parameters())
        for name in found:
            parameters[name].data = before[name]
            parameters[name].requires_grad_(False)
        return found

    @torch.no_grad()
    def _probe(self) -> None:
        like = next(self.network.parameters())
        ForeignGenerator.forward(self, like.new_zeros(1, self.channels, _PROBE, _PROBE))

    @contextmanager
    def _unchanged(self) -> Iterator[None]:
        parameters = dict(self.network.named_parameters()) if self._derived else {}
        before = [(parameters[name], parameters[name].data.clone()) for name in self._derived]
        yield
        for parameter, tensor in before:
            parameter.data = tensor

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        # weights in channels_last make features of that layout, of which some families take views
        super()._apply(fn, recurse)
        for tensor in (*self.network.parameters(), *self.network.buffers()):
            tensor.data = tensor.data.contiguous()
        return self


def _batch_norms(network: nn.Module) -> Iterator[nn.Module]:
    for part in network.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            yield part


def _switch_off_drops(network: nn.Module) -> None:
    for part in network.modules():
        if isinstance(part, nn.modules.dropout._DropoutNd):
            part.p = 0.0
        for name in ("drop_prob", "prob"):  # of dropped paths, by the families' own classes
            if isinstance(getattr(part, name, None), float | int):
                setattr(part, name, 0.0)


def installed() -> bool:
    """Whether spandrel, which implements the families, is there."""
    return find_spec("spandrel") is not None


def names() -> list[str]:
    """The families by name: spandrel's id, and of a family of several classes theirs as well."""
    return sorted({name for family in FAMILIES for name in (family, *_classes(family))})


def build(
    name: str, shape: Mapping[str, Any], scale: int, channels: int, *, keep_statistics: bool = False
) -> TrainableForeign:
    """A network of a family, with weights that its class draws from torch's default generator.

    `shape` has arguments of the class; the others are its defaults. ForeignError where the family
    is unknown, or has no such network.
    """
    family, kind = _find(name)
    given = _arguments(family, kind, scale, channels) | dict(shape)
    if strange := [key for key in shape if key not in inspect.signature(kind).parameters]:
        raise ForeignError(
            f"has no argument {', '.join(strange)}; it takes "
            f"{', '.join(inspect.signature(kind).parameters)}"
        )
    try:
        # torch says once, in a first pass, what the families' code should have written
        with quiet():
            found = _load(kind(**given).state_dict())
            made = TrainableForeign(found, partial(kind, **given), keep_statistics=keep_statistics)
    except Exception as error:  # whatever a family's class says of arguments that do not fit
        raise ForeignError(
            f"has no network of scale = {scale} with these arguments ({_reason(error)}); give "
            "another scale or other arguments"
        ) from None
    if found.architecture.id != family:
        raise ForeignError(
            f"is taken for {found.architecture.id} by spandrel with these arguments; give others"
        )
    if found.scale != scale:
        raise ForeignError(
            f"makes a network that enlarges {found.scale} times of scale = {scale}; give another "
            "scale, or another family"
        )
    if (found.input_channels, found.output_channels) != (channels, channels):
        raise ForeignError(
            f"takes images of {found.input_channels} channels, not of channels = {channels}; give "
            "another family"
        )
    return made


def recognise(tensors: Mapping[str, Tensor]) -> Known | None:
    """The family and shape of weights, also of those that ganforge stored; None where spandrel is
    not installed or does not know them, or where they enlarge no plain images.

    ForeignError where they are known, and are not what their shape makes.
    """
    if not installed() or not tensors:
        return None
    from spandrel import ImageModelDescriptor, UnsupportedModelError

    try:
        with quiet():
            found = _load(family_names(tensors))
    except UnsupportedModelError:
        return None
    except Exception as error:  # tensors of a known family that do not make a network
        raise ForeignError(f"cannot be loaded ({_reason(error)}); give another file") from None
    family = str(found.architecture.id)
    if family not in FAMILIES or not isinstance(found, ImageModelDescriptor) or found.scale < 2:
        return None
    name = _name(family, type(found.model))
    known = Known(
        name,
        _shape(family, found),
        found.scale,
        found.input_channels,
        dict(found.model.state_dict()),
    )
    made = build(*known[:4], keep_statistics=True)
    try:
        made.network.load_state_dict(known.tensors)
        made.write_derived()
    except RuntimeError as error:
        raise ForeignError(
            f"is a network of {name} that its arguments do not make again ({_reason(error)}); give "
            "another file"
        ) from None
    images = torch.linspace(-1, 1, known.channels * _PROBE**2).sin()
    images = images.reshape(1, known.channels, _PROBE, _PROBE)
    with torch.no_grad():
        if not torch.equal(made.eval()(images), ForeignGenerator(found).eval()(images)):
            raise ForeignError(
                f"is a network of {name} whose arguments make other images; give another file"
            )
    return known


def family_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors under the names that a family gives them."""
    for prefix in _PREFIXES:
        inner = {k.removeprefix(prefix): t for k, t in tensors.items() if k.startswith(prefix)}
        if inner:
            return inner
    return dict(tensors)


def _registered(family: str) -> Any:
    from spandrel import MAIN_REGISTRY

    return next(
        s.architecture for s in MAIN_REGISTRY.architectures() if s.architecture.id == family
    )


def _classes(family: str) -> dict[str, type[nn.Module]]:
    """The classes of a family, by their names where there are several, else by its id."""
    kind = get_args(type(_registered(family)).__orig_bases__[0])[0]
    several = get_args(kind)
    return {each.__name__: each for each in several} if several else {family: kind}


def _name(family: str, kind: type[nn.Module]) -> str:
    return next(name for name, each in _classes(family).items() if each is kind)


def _find(name: str) -> tuple[str, type[nn.Module]]:
    """The family and the class of a name; of a family of several classes the first."""
    for family in FAMILIES:
        classes = _classes(family)
        if name in classes:
            return family, classes[name]
        if name == family:
            return family, next(iter(classes.values()))
    raise ForeignError(f"must be one of {', '.join(names())}")


def _arguments(family: str, kind: type[nn.Module], scale: int, channels: int) -> dict[str, Any]:
    """What a family's class is told of scale and channels, under the names that it has for them."""
    known = inspect.signature(kind).parameters
    found = dict(FAMILIES[family])
    found |= dict.fromkeys(_SCALES, scale) | dict.fromkeys(_CHANNELS, channels)
    return {key: value for key, value in found.items() if key in known}


def _shape(family: str, found: "ImageModelDescriptor") -> dict[str, Any]:
    """The arguments of a loaded network that differ from those of its class, as JSON has them."""
    kind = type(found.model)
    usual = {k: p.default for k, p in inspect.signature(kind).parameters.items()}
    usual |= _arguments(family, kind, found.scale, found.input_channels)
    shape = {}
    given: dict[str, Any] = getattr(found.model, "hyperparameters", {})
    for key, value in given.items():
        if key in usual and value is not usual[key] and _plain(value) != _plain(usual[key]):
            shape[key] = _plain(value)
    return shape


def _plain(value: Any) -> Any:
    try:
        return json.loads(json.dumps(value))
    except TypeError:  # a class or a function, which is one of the family's code
        raise ForeignError(f"has the argument {value!r}, which no setting can hold") from None


def _load(tensors: Mapping[str, Tensor]) -> Any:
    """As spandrel opens a file of these tensors."""
    from spandrel import MAIN_REGISTRY

    return MAIN_REGISTRY.load(dict(tensors))


def _reason(error: Exception) -> str:
    first = (str(error).strip().splitlines() or [""])[0][:200]
    return f"{type(error).__name__}: {first}" if first else type(error).__name__
