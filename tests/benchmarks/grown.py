"""A network of the benchmarks that has grown to a size, with the same weights each time."""

import torch

from ganforge.networks.progressive import GrowingCritic


def grown_critic(width: int, side: int) -> GrowingCritic:
    """The flagship's critic for images of `side` pixels, channels last; torch's default generator
    stands where its weights ended."""
    torch.manual_seed(0)
    found = GrowingCritic(3, width)
    found.grow_end()
    half = side
    while half > 4:
        found.grow_block(half)
        half //= 2
    found.grow_from_image(side)
    return found.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
