"""What float32 means: 24 bits everywhere, also on GPUs that would round to TF32's 11."""

import torch


def full_float32() -> None:
    """Let no matrix product and no convolution of this process round its inputs to TF32.

    torch's default rounds in cuDNN's convolutions alone. Then an image in tiles is not the whole
    image, and a GPU's figures are not a CPU's.
    """
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
