"""Spectral normalisation: layers whose largest singular value is 1 (arXiv:1802.05957)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

#: Power iterations that bring a new layer's random vector near its weights' own.
FIRST_ITERATIONS = 15


def power_iteration(matrix: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
    """One iteration v = Wᵀu/‖Wᵀu‖, u' = Wv/‖Wv‖ (arXiv:1802.05957, Algorithm 1).

    W (out, in) and u (out,) in, (u', v) out: they tend to the singular vectors of the largest
    singular value, and u'ᵀWv to that value from below.
    """
    v = F.normalize(matrix.mT @ u, dim=0, eps=1e-12)
    return F.normalize(matrix @ v, dim=0, eps=1e-12), v


def normalised(weight: Tensor, u: Tensor) -> Tensor:
    """W / σ(W) with σ(W) = u'ᵀWv of one power iteration from u (arXiv:1802.05957, equation 8).

    The gradient takes u' and v as constants (equations 9 to 11). σ is computed in float32 or wider
    under mixed precision. `weight` of any shape is the matrix (out, rest).
    """
    with torch.autocast(weight.device.type, enabled=False):
        matrix = weight.flatten(1)
        with torch.no_grad():
            left, right = power_iteration(matrix, u)
        # zero weights stay zero
        return weight / torch.dot(left, matrix @ right).clamp_min(1e-12)


class SpectralConv2d(nn.Conv2d):
    """Convolution whose weights, as a matrix (out, in·k·k), are divided by their largest singular
    value (arXiv:1802.05957, section 2.1). (N, in, H, W) in, (N, out, H', W') out.

    The buffer `u` is the state of the power iteration. A forward pass does one iteration from it
    and leaves it as it is, so that the real, the generated and the penalty's images of a step, on
    whichever worker, meet the same weights; `iterate` moves it on, once for each step.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        padding: int = 0,
        *,
        bias: bool = True,
    ):
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, bias=bias)
        self.u: Tensor
        self.register_buffer("u", unit_vector(out_channels))

    def reset_parameters(self) -> None:
        super().reset_parameters()
        if hasattr(self, "u"):  # torch's constructor calls this before there is one
            self.u.copy_(unit_vector(len(self.u)))

    def forward(self, input: Tensor) -> Tensor:
        weight = normalised(self.weight, self.u)
        return F.conv2d(input, weight, self.bias, self.stride, self.padding)


class SpectralLinear(nn.Linear):
    """Dense layer whose weights are divided by their largest singular value: (N, in) to (N, out).
    `u` is as in SpectralConv2d."""

    def __init__(self, in_features: int, out_features: int):
        super().__init__(in_features, out_features)
        self.u: Tensor
        self.register_buffer("u", unit_vector(out_features))

    def reset_parameters(self) -> None:
        super().reset_parameters()
        if hasattr(self, "u"):
            self.u.copy_(unit_vector(len(self.u)))

    def forward(self, input: Tensor) -> Tensor:
        return F.linear(input, normalised(self.weight, self.u), self.bias)


def unit_vector(length: int) -> Tensor:
    """A random direction, (length,) of norm 1, from the default generator."""
    return F.normalize(torch.randn(length), dim=0)


@torch.no_grad()
def iterate(network: nn.Module, iterations: int = 1) -> None:
    """Move the power iteration of every layer on: after each step of the network's optimizer.

    A function of the weights and the vectors alone, which are the same on every worker.
    """
    for layer in network.modules():
        if isinstance(layer, SpectralConv2d | SpectralLinear):
            for _ in range(iterations):
                layer.u.copy_(power_iteration(layer.weight.flatten(1), layer.u)[0])
