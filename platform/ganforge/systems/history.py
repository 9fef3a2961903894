"""What is kept of earlier steps: a pool of fakes, and the running mean of a player's weights."""

import torch
from torch import Tensor, nn

from ganforge.data.batch import Batch
from ganforge.schedule import Progress


class ReplayPool(nn.Module):
    """Earlier fakes that a critic sees again (arXiv:1703.10593, section 4), one pool a shard.

    Its two buffers belong to their shard: a system that holds a pool under `name` lists
    `name.images` and `name.count` among its `shard_buffers`.
    """

    images: Tensor
    count: Tensor

    def __init__(self, shards: int, size: int, shape: tuple[int, int, int]):
        super().__init__()
        self.shape, self.size = shape, size
        # flat images: a buffer of five axes has no channels-last layout
        self.register_buffer("images", torch.zeros(shards, size, shape[0] * shape[1] * shape[2]))
        self.register_buffer("count", torch.zeros(shards, dtype=torch.int64))

    @torch.no_grad()
    def swap(self, fakes: Tensor, shard: int) -> Tensor:
        """What the critic is shown in place of `fakes`, (N, C, H, W), detached.

        While the pool is not full each fake is stored and shown. Then, with probability ½, a stored
        image drawn uniformly is shown and the fake replaces it; else the fake is shown.
        """
        shown = []
        for fake in fakes.detach().to(self.images.dtype):
            count = int(self.count[shard])
            if count < self.size:
                self.images[shard, count] = fake.reshape(-1)
                self.count[shard] += 1
            elif self.size and torch.rand(()).item() < 0.5:
                slot = int(torch.randint(self.size, ()))
                earlier = self.images[shard, slot].reshape(self.shape).clone()
                self.images[shard, slot] = fake.reshape(-1)
                fake = earlier
            shown.append(fake)
        return torch.stack(shown)


def shard_of(batch: Batch, progress: Progress) -> int:
    """Which shard of its global batch a batch is, by its sample numbers."""
    assert batch.index is not None
    first = int(batch.index[0]) % progress.stage.batch_size
    return first // progress.stage.shard_size


class WeightHistory(nn.Module):
    """The running mean of a module's weights, for historical averaging (arXiv:1606.03498, 3.3).

    The weights it was made with are the first of the history; `update` adds one more.
    """

    count: Tensor

    def __init__(self, module: nn.Module):
        super().__init__()
        self.register_buffer("count", torch.ones((), dtype=torch.int64))
        for name, parameter in module.named_parameters():
            self.register_buffer(_key(name), parameter.detach().clone())

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Take the present weights into the mean: after each step of the module's optimizer."""
        self.count += 1
        for name, parameter in module.named_parameters():
            mean = self.get_buffer(_key(name))
            mean.add_((parameter - mean) / self.count)

    def distance(self, module: nn.Module) -> Tensor:
        """‖θ - (1/t)·Σ θ_i‖² over all weights, a scalar; gradients flow to θ alone."""
        parts = [
            (parameter - self.get_buffer(_key(name))).square().sum()
            for name, parameter in module.named_parameters()
        ]
        return torch.stack(parts).sum()


class Histories(nn.ModuleDict):
    """The history of each player's weights, by its name; empty where none is kept."""

    def term(self, player: str, module: nn.Module, weight: float) -> dict[str, Tensor]:
        """{"history": the weighted distance}, or nothing without a weight."""
        if not weight:
            return {}
        history = self[player]
        assert isinstance(history, WeightHistory)
        return {"history": weight * history.distance(module)}

    def remember(self, player: str, module: nn.Module) -> None:
        """Take a player's present weights into its mean."""
        if player in self:
            history = self[player]
            assert isinstance(history, WeightHistory)
            history.update(module)


def _key(name: str) -> str:
    return "mean/" + name.replace(".", "/")
