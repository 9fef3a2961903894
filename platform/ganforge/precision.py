"""What float32 means: 24 bits everywhere, also on GPUs that would round to TF32's 11."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


def full_float32() -> None:
    """Let no matrix product and no convolution of this process round its inputs to TF32.

    torch's default rounds in cuDNN's convolutions alone. Then an image in tiles is not the whole
    image, and a GPU's figures are not a CPU's.
    """
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False


@contextmanager
def tf32(enabled: bool) -> Iterator[None]:
    """Matrix products and convolutions on a GPU round their inputs to TF32, where `enabled`.

    For the passes of training alone: what measures or uses a network has full float32.
    """
    if not enabled:
        yield
        return
    torch.backends.cuda.matmul.allow_tf32 = True
    torch.backends.cudnn.allow_tf32 = True
    try:
        yield
    finally:
        full_float32()
