"""Every random draw is a function of names and numbers, never of what was drawn before."""

import hashlib

import torch

_MASK = (1 << 64) - 1


def derive(*parts: int | str) -> int:
    """A 63-bit seed from the given parts: the first bytes of the sha256 of their listing."""
    digest = hashlib.sha256("\x1f".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def reseed(*parts: int | str) -> None:
    """Seed torch's default generators (the CPU's and the current device's) from `parts`.

    `torch.manual_seed` visits every backend on each call; the two generators in use are enough.
    """
    seed = derive(*parts)
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_available():
        torch.cuda.manual_seed(seed)


def permutation(count: int, *parts: int | str) -> torch.Tensor:
    """A permutation of 0 … count-1, (count,) int64, drawn from `parts` alone."""
    generator = torch.Generator().manual_seed(derive(*parts))
    return torch.randperm(count, generator=generator)


def latents(size: int, index: torch.Tensor, *parts: int | str) -> torch.Tensor:
    """Fixed latents, (N, size) from N(0, 1): row i is a function of `parts` and index[i] alone."""
    rows = [
        torch.randn(size, generator=torch.Generator().manual_seed(derive("latent", *parts, number)))
        for number in index.tolist()
    ]
    return torch.stack(rows).to(index.device)


class Draws:
    """A few cheap uniform numbers from one seed (SplitMix64), for one sample's crop and flips."""

    def __init__(self, *parts: int | str):
        self._state = derive(*parts)

    def below(self, bound: int) -> int:
        """A uniform whole number in [0, bound)."""
        self._state = (self._state + 0x9E3779B97F4A7C15) & _MASK
        mixed = self._state
        mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
        return ((mixed ^ (mixed >> 31)) * bound) >> 64
