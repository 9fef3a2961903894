"""FID and KID, distances between the features of two sets of images, and precision and recall, how
far each covers the other. In float64."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def moments(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (d,) and unbiased covariance (d, d) of (n, d) features, n ≥ 2."""
    features = features.double()
    mean = features.mean(dim=0)
    centred = features - mean
    return mean, centred.T @ centred / (len(features) - 1)


def frechet_distance(first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]) -> float:
    """abs(m1 - m2)² + Tr(C1 + C2 - 2 (C1 C2)^(1/2)): equation 6 of arXiv:1706.08500.

    The trace of the root is that of (C1^(1/2) C2 C1^(1/2))^(1/2), which is symmetric, so that
    singular covariances (fewer images than features) need no regularisation.
    """
    (mean_first, cov_first), (mean_second, cov_second) = first, second
    values, vectors = torch.linalg.eigh(cov_first)
    root = (vectors * values.clamp_min(0).sqrt()) @ vectors.T
    product = root @ cov_second @ root
    cross = torch.linalg.eigvalsh((product + product.T) / 2).clamp_min(0).sqrt().sum()
    shift = (mean_first - mean_second).square().sum()
    return (shift + cov_first.trace() + cov_second.trace() - 2 * cross).item()


def kernel_distance(first: Tensor, second: Tensor) -> float:
    """The unbiased estimate of the squared maximum mean discrepancy under the kernel
    k(x, y) = (x·y / d + 1)³ (section 4 of arXiv:1801.01401); (n, d) and (m, d), n, m ≥ 2.

    Over all images at once, not over subsets. It may be negative where the sets are alike.
    """
    first, second = first.double(), second.double()

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return (a @ b.T / a.shape[1] + 1) ** 3

    def among(points: Tensor) -> Tensor:
        found = kernel(points, points)
        return (found.sum() - found.trace()) / (len(points) * (len(points) - 1))

    return (among(first) + among(second) - 2 * kernel(first, second).mean()).item()


def precision_recall(real: Tensor, fake: Tensor, neighbours: int = 3) -> tuple[float, float]:
    """Precision and recall of arXiv:1904.06991, equations 1 and 2, over features (n, d), (m, d).

    Precision: the part of the generated images that lie within the distance of some real image to
    its third neighbour among the real ones; recall: the same the other way around. NaN where there
    are not more than `neighbours` images of each.
    """
    real, fake = real.double(), fake.double()
    if min(len(real), len(fake)) <= neighbours:
        return float("nan"), float("nan")
    across = torch.cdist(real, fake)
    radii = [
        torch.cdist(points, points).kthvalue(neighbours + 1, dim=1).values
        for points in (real, fake)
    ]
    precision = (across <= radii[0][:, None]).any(dim=0).double().mean()
    recall = (across <= radii[1][None, :]).any(dim=1).double().mean()
    return precision.item(), recall.item()


def diversity(real: Tensor, fake: Tensor) -> float:
    """How far generated images are from each other, by how far real ones are: the ratio of mean
    Euclidean distances of all pairs of features (n, d), (m, d), n, m ≥ 2.

    About 1 where the two sets vary alike, 0 where all generated images are one: a generator that
    has collapsed. NaN where all real images are one.
    """
    spread, among = (torch.pdist(features.double()).mean() for features in (fake, real))
    return (spread / among).item() if among > 0 else float("nan")


class Distances:
    """FID and KID between two sets, by the features of one network; `suffix` ends their names, and
    `frechet` begins that of the first: FID is Inception's. `names` may have `precision_recall` and
    `diversity`."""

    def __init__(
        self, network: nn.Module, names: Sequence[str], suffix: str = "", frechet: str = "fid"
    ):
        self.network, self.names, self.suffix, self.frechet = network, names, suffix, frechet

    def describe(self, images: Tensor, index: Tensor) -> Tensor:
        colour = images.float().expand(-1, 3, -1, -1)
        return self.network(colour).cpu()

    def compare(self, real: Sequence[Tensor], fake: Sequence[Tensor]) -> dict[str, float]:
        first, second = (torch.cat(list(chunks)).double() for chunks in (real, fake))
        if min(len(first), len(second)) < 2:
            return {}
        found = {}
        if "fid" in self.names:
            found[f"{self.frechet}{self.suffix}"] = frechet_distance(
                moments(first), moments(second)
            )
        if "kid" in self.names:
            found[f"kid{self.suffix}"] = kernel_distance(first, second)
        if "diversity" in self.names:
            value = diversity(first, second)
            found |= {f"diversity{self.suffix}": value} if value == value else {}
        if "precision_recall" in self.names:
            both = precision_recall(first, second)
            parts = zip(("precision", "recall"), both, strict=True)
            found |= {f"{name}{self.suffix}": value for name, value in parts if value == value}
        return found
