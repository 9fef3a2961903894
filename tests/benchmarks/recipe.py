"""Progressive growing as its public implementations write a step, to compare the loop's with.

The networks are the project's, so that the formulas are equal; the step is plain: fakes of the
critic's turn are made with a graph and detached, the old path of a fade is computed whether or not
it counts, real, fake and penalised images pass the critic one after the other, the generator's turn
leaves gradients in the critic, the average moves weight by weight, and tensors are NCHW.
"""

import copy
from typing import Any

import torch
from torch import Tensor, nn

from ganforge.data.batch import Batch

PENALTY, DRIFT, DECAY, RATE = 10.0, 1e-3, 0.999, 1e-3


class Recipe:
    """A critic's turn and a generator's on each batch."""

    def __init__(self, generator: nn.Module, critic: nn.Module, latent_size: int | None):
        self.generator, self.critic = (
            copy.deepcopy(network).to(memory_format=torch.contiguous_format)  # pyright: ignore
            for network in (generator, critic)
        )
        self.average = copy.deepcopy(self.generator)
        self.latent_size = latent_size
        options: dict[str, Any] = {"lr": RATE, "betas": (0.0, 0.99), "eps": 1e-8}
        self.of_generator = torch.optim.Adam(self.generator.parameters(), **options)
        self.of_critic = torch.optim.Adam(self.critic.parameters(), **options)
        self.alpha = torch.ones(())

    def given(self, batch: Batch) -> Tensor:
        """What the generator is given: a source, or latents."""
        if self.latent_size is None:
            assert batch.source is not None
            return batch.source
        return torch.randn(len(batch.target), self.latent_size)

    def scores(self, images: Tensor) -> Tensor:
        return self.critic(images, True, self.alpha)

    def penalty(self, real: Tensor, fake: Tensor) -> Tensor:
        mix = torch.rand(len(real), 1, 1, 1)
        between = (mix * real + (1 - mix) * fake).requires_grad_()
        scores = self.scores(between)
        (gradient,) = torch.autograd.grad(
            scores, between, torch.ones_like(scores), create_graph=True, retain_graph=True
        )
        return (gradient.flatten(1).norm(2, dim=1) - 1).square().mean()

    def step(self, batch: Batch) -> None:
        real = batch.target
        self.of_critic.zero_grad()
        fake = self.generator(self.given(batch), True, self.alpha).detach()
        real_scores, fake_scores = self.scores(real), self.scores(fake)
        loss = fake_scores.mean() - real_scores.mean()
        loss = loss + PENALTY * self.penalty(real, fake) + DRIFT * real_scores.square().mean()
        loss.backward()
        self.of_critic.step()

        self.of_generator.zero_grad()
        fake = self.generator(self.given(batch), True, self.alpha)
        (-self.scores(fake).mean()).backward()
        self.of_generator.step()
        with torch.no_grad():
            pairs = zip(self.average.parameters(), self.generator.parameters(), strict=True)
            for mine, theirs in pairs:
                mine.mul_(DECAY).add_(theirs, alpha=1 - DECAY)
