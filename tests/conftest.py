"""Images and settings that many tests share."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from no_skips import pytest_addoption, pytest_sessionfinish  # noqa: F401  (hooks)
from PIL import Image

from ganforge.settings import override
from ganforge.systems.progressive_gan_sr import Settings
from ganforge.systems.settings import ladder


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory):
    """Nothing of a test is left in, or taken from, the user's cache; one thread, as in training:
    several threads of several tests in each other's way take thirty times as long."""
    torch.set_num_threads(1)
    os.environ["GANFORGE_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def images(tmp_path_factory) -> Path:
    """Eight small smooth images with edges, 72 × 64 and 64 × 80."""
    folder = tmp_path_factory.mktemp("images")
    for number in range(8):
        height, width = ((72, 64), (64, 80))[number % 2]
        y, x = np.mgrid[0:height, 0:width] / 16.0
        waves = [np.sin(x * (1 + number) + c) * np.cos(y * (2 + c)) for c in range(3)]
        image = np.stack(waves, axis=-1) * 100 + 128
        image[8 + 4 * number : 24 + 4 * number, 10:30] = (20 * number, 200, 90)
        Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(folder / f"{number}.png")
    return folder


@pytest.fixture
def tiny(images):
    """A flagship of two stages that trains in seconds, every term but the perceptual one on."""

    def make(**changes) -> Settings:
        given = {key.replace("__", "."): value for key, value in changes.items()}
        base = {
            "width": 8,
            "batch_size": 8,
            "shards": 4,
            "critic_steps": 2,
            "pixel_weight": 1.0,
            "average_decay": 0.9,
            "images_per_epoch": 40,
            "perceptual.network": "none",
            "data.root": str(images),
            "data.view": "crop",
            "validation.images": 2,
            "reports_per_stage": 2,
            "device": "cpu",
            "stages": ladder(4, 16, epochs=2, fade_epochs=1),
        }
        return override(Settings(), base | given)

    return make


@pytest.fixture(scope="session")
def object_store() -> Iterator[str]:
    """http://host:port of an S3 that forgets, with a bucket `bucket`; this process speaks to it."""
    moto = pytest.importorskip("moto.server", reason="needs moto[server] to play S3")
    boto3 = pytest.importorskip("boto3", reason="needs boto3 to make a bucket")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "testing")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        patch.setenv("NO_PROXY", os.environ.get("NO_PROXY", "") + ",127.0.0.1")
        patch.setenv("no_proxy", os.environ["NO_PROXY"])
        host, port = server.get_host_and_port()
        endpoint = f"http://{host}:{port}"
        boto3.client("s3", endpoint_url=endpoint).create_bucket(Bucket="bucket")
        yield endpoint
    server.stop()
