"""What a system is: the networks of one GAN and the objectives of its players."""

import copy
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from ganforge.data.batch import Batch
from ganforge.draws import reseed
from ganforge.schedule import Progress
from ganforge.systems.settings import SystemSettings


class Metric(NamedTuple):
    """The measured number by which runs are compared, and whether more is better: max or min."""

    name: str
    mode: str


@dataclass
class Player:
    """One side of the game: the parameters an optimizer owns, and when it takes a turn.

    `options(progress)` gives the optimizer's options at a step (lr, betas, …) and `every(settings)`
    the number of batches from turn to turn: pure functions, so that per-stage settings hold.
    `average` is an exponential moving average of the module with `decay(settings)` per step of its
    own; `after_step` is run on the module after each step (weight clipping). Gradients whose norm
    is above `clip_norm(settings)` are scaled to it (arXiv:1211.5063, section 3.2).
    """

    name: str
    module: nn.Module
    optimizer: Optimizer
    options: Callable[[Progress], dict[str, Any]]
    every: Callable[[Any], int] = lambda settings: 1
    average: nn.Module | None = None
    decay: Callable[[Any], float] = lambda settings: 0.999
    after_step: Callable[[nn.Module], None] | None = None
    clip_norm: Callable[[Any], float | None] = lambda settings: None
    parameters: list[nn.Parameter] = field(default_factory=list)

    def follow(self, *, reset: bool = False) -> None:
        """Let optimizer and average follow the module after a growth.

        Surviving parameters keep their moments (unless `reset`) and their averages; new ones start
        with none and with a copy; dropped ones are forgotten.
        """
        self.parameters = list(self.module.parameters())
        kept = {p: s for p, s in self.optimizer.state.items() if not reset}
        self.optimizer.state.clear()
        for parameter in self.parameters:
            if parameter in kept:
                self.optimizer.state[parameter] = kept[parameter]
        self.optimizer.param_groups[0]["params"] = self.parameters
        if isinstance(self.optimizer, Adam) and self.parameters:
            # on a GPU one kernel in place of a dozen; its count of steps is there too
            self.optimizer.param_groups[0]["fused"] = self.parameters[0].is_cuda
        if self.average is not None:
            known = self.average.state_dict()
            self.average = copy.deepcopy(self.module).requires_grad_(False).eval()
            mine = self.average.state_dict()
            self.average.load_state_dict({n: known.get(n, mine[n]) for n in mine})

    def step(self, gradients: Sequence[Tensor | None], progress: Progress) -> None:
        """One optimizer step with the given gradients, then the average and `after_step`."""
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            parameter.grad = gradient
        if (most := self.clip_norm(progress.settings)) is not None:
            nn.utils.clip_grad_norm_(self.parameters, most)
        options = self.options(progress)
        self.optimizer.param_groups[0].update(options | {"lr": options["lr"] * progress.rate})
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if self.after_step is not None:
            with torch.no_grad():
                self.after_step(self.module)
        self._move_average(progress)

    @torch.no_grad()
    def _move_average(self, progress: Progress) -> None:
        if self.average is None:
            return
        weight = 1 - self.decay(progress.settings)
        averages: list[Tensor] = list(self.average.parameters())
        torch._foreach_lerp_(averages, list[Tensor](self.parameters), weight)  # pyright: ignore
        for mine, theirs in zip(self.average.buffers(), self.module.buffers(), strict=True):
            mine.copy_(theirs)


class System(nn.Module):
    """Base of all systems: a subclass builds its networks and players in `__init__`.

    First weights are those that the constructor leaves: it draws from the default generator, which
    is seeded by `settings.seed` before it begins. Networks that grow add their blocks in `grow`.
    `assets` are files that settings name, by content hash: frozen feature networks. `Data` names
    the kind of data set, `set_metrics` the metrics of whole sets of images.
    """

    Settings: ClassVar[type[SystemSettings]]
    Data: ClassVar[str]
    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {}
    metric: ClassVar[Metric]
    metrics: ClassVar[tuple[Metric, ...]] = ()
    #: the weights of the generator's terms, where a stage with all of them at 0 is a mistake
    generator_weights: ClassVar[tuple[str, ...]] = ()
    set_metrics: ClassVar[tuple[str, ...]] = ("swd",)
    #: whether each generated image has a target that it should look like: `against_target`
    paired: ClassVar[bool] = False
    sample_titles: ClassVar[tuple[str, ...]] = ()
    shard_buffers: ClassVar[tuple[str, ...]] = ()
    #: whether `losses` is a function of weights, buffers, batch, alpha and draws on the device:
    #: then a GPU may replay what it recorded of it once (training/capture.py); not inherited
    capturable: ClassVar[bool] = False
    takes: ClassVar[Literal["image", "latent"]] = "image"  # what `deploy`'s network is given
    players: Sequence[Player]

    def __init__(self, settings: Any, assets: dict[str, dict[str, Tensor]]):
        super().__init__()
        self.settings = settings
        #: weights to begin with, by `player/parameter` (training/initial_weights.py)
        self.initial: dict[str, Tensor] = assets.get(settings.initial_weights, {})
        # what a subclass draws in its constructor is a function of the seed alone
        reseed(settings.seed, "grow", 0, "constructor")

    @classmethod
    def resolve(cls, settings: Any) -> tuple[Any, dict[str, dict[str, Tensor]], list[str]]:
        """Settings with named files replaced by content hashes, those files, and warnings.

        Run once by the driver, before anything starts.
        """
        return settings, {}, []

    @classmethod
    def weights_in(cls, settings: Any, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """The tensors of a file by `player/parameter`, where other trainers call them otherwise;
        else as they are."""
        return tensors

    @classmethod
    def source_scale(cls, settings: Any) -> int:
        """Side of a target image by side of its source."""
        return 1

    def grow(self, index: int) -> None:
        """Add what stage `index` adds and initialise it; networks of one size add nothing.

        Weights that are there already stay as they are, those of the constructor included.
        """

    def init_block(self, index: int, name: str, build: Callable[[], None]) -> None:
        """Run `build` with the draws of block `name` of stage `index`.

        A block's first weights depend on nothing else, so that runs with more stages share them.
        """
        reseed(self.settings.seed, "grow", index, name)
        build()

    def begin_with(self, present: Set[str]) -> None:
        """Copy initial weights into parameters whose names are not `present`: the new ones."""
        for player in self.players if self.initial else ():
            for name, tensor in player.module.state_dict().items():
                key = f"{player.name}/{name}"
                if key in self.initial and key not in present:
                    tensor.copy_(self.initial[key])  # a state dict shares its tensors' memory

    def names(self) -> set[str]:
        """`player/parameter` of everything that the players have now."""
        return {f"{p.name}/{name}" for p in self.players for name in p.module.state_dict()}

    def init_networks(self, *names: str) -> None:
        """Draw the weights of whole networks anew, each from (seed, name): for the constructor.

        A network's first weights then do not depend on what was built before it. What runs after
        this call in the constructor, such as `self.apply(weights_init)`, has the last word.
        """
        for name in names:
            network = self.get_submodule(name)
            self.init_block(0, name, lambda network=network: reset_parameters(network))

    def losses(self, player: str, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        """Weighted, named terms of one shard; the loop sums them. Empty: the player sits out."""
        raise TypeError(f"{type(self).__name__} has no objectives for {player}")

    def sample(self, batch: Batch, progress: Progress) -> list[Tensor]:
        """The panes of a sample grid, each (N, C, H', W') in [-1, 1], from averaged weights."""
        raise TypeError(f"{type(self).__name__} draws no samples")

    def validate(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        """Metrics of each image, each (N,), from averaged weights."""
        return {}

    def averaged(self, player: str = "generator") -> nn.Module:
        """A player's averaged network, or the network itself where no average is kept."""
        found = next(p for p in self.players if p.name == player)
        return found.module if found.average is None else found.average

    def generated(self, batch: Batch, progress: Progress) -> Tensor:
        """Images of the averaged generator for a batch, the same each time: (N, C, H, W) in
        [-1, 1].

        Without a source, latents are a function of `batch.index`.
        """
        raise TypeError(f"{type(self).__name__} generates nothing")

    def against_target(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        """Of a paired system: what is compared with `batch.target` by how it looks, each
        (N, C, H, W) in [-1, 1], by the suffix of its metrics: "" is `generated`, the others are
        baselines."""
        return {"": self.generated(batch, progress)}

    def strips(self, progress: Progress) -> Tensor | None:
        """Rows of images that lead from one to another, (rows, columns, C, H, W) in [-1, 1]."""
        return None

    def deploy(self, progress: Progress) -> nn.Module:
        """One tensor in, one out: this stage's averaged generator, to upscale, serve, export.

        Of images, (N, C, H, W) in [-1, 1] in and out, `source_scale` times as large. A network
        whose pixels depend on a bounded part of the image has a method `receptive_field(span)`,
        as in reach.py: then images can be enlarged in tiles.
        """
        raise TypeError(f"{type(self).__name__} has nothing to deploy")


def reset_parameters(network: nn.Module) -> None:
    """Draw all weights anew by each module's own rule."""

    def reset(module: nn.Module) -> None:
        method: Callable[[], None] | None = getattr(module, "reset_parameters", None)
        if method is not None:
            method()

    network.apply(reset)  # the children of a module before the module itself
