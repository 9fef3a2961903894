"""Too little memory is recognised, and the line for the user says what to change."""

import errno
import subprocess
import sys

import pytest
import torch

from ganforge.training.memory import Size, explained, is_out_of_memory, kernel_kills, peak_bytes

SIZES = [Size(32, 100, 16, 4), Size(64, 50, 16, 4), Size(128, 50, 8, 4)]


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 bytes"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
    ],
)
def test_failed_allocations_are_recognised(error):
    assert is_out_of_memory(error)


@pytest.mark.parametrize(
    "error", [RuntimeError("connection closed by peer"), ValueError("out of memory is a title")]
)
def test_other_errors_are_not(error):
    assert not is_out_of_memory(error)


def test_torch_itself_fails_in_words_that_are_recognised():
    """With an address space of 3 GiB torch is refused 8 GiB, and says it in its own words."""
    code = (
        "import resource, torch\n"
        "from ganforge.training.memory import is_out_of_memory\n"
        "limit = resource.getrlimit(resource.RLIMIT_AS)[1]\n"
        "resource.setrlimit(resource.RLIMIT_AS, (64 * 2**30, limit))\n"
        "try:\n    torch.empty(2**38, dtype=torch.uint8)\n"
        "except Exception as error:\n    print(is_out_of_memory(error))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "True", done.stderr


def test_the_line_names_stage_batch_estimate_and_fixes():
    for index, step in ((0, 100), (1, 0)):  # the end of a stage, and the growth after it
        line = explained(SIZES, index, step, 3 * 2**30, "an allocation failed")
        assert line.startswith(
            "stage 1 (64 px, batch_size 16 in 4 shards of 4) at its beginning: an allocation failed"
        )
        assert "had used 3.0 GiB until then, and a shard of this stage has 4 times the pix" in line
        assert "up to 12.0 GiB" in line
        assert "shards" in line and "batch_size" in line and "fewer trials or workers" in line
    assert "times" not in explained(SIZES, 0, 0, 2**30, "an allocation failed")


def test_inside_a_stage_nothing_is_scaled():
    line = explained(SIZES, 1, 20, 2**30, "killed", gpu=True)
    assert line.startswith("stage 1 (64 px, batch_size 16 in 4 shards of 4) after 20 steps: killed")
    assert "times" not in line and "bfloat16" in line
    # a smaller shard is counted: four times the pixels, half the images
    assert "2 times the pixels" in explained(SIZES, 1, 50, 2**30, "killed")


def test_the_peak_and_the_kernels_count_are_read():
    assert peak_bytes() > 50 * 2**20
    assert kernel_kills() >= 0
