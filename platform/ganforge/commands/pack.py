"""`ganforge pack`: a folder of very many images as a few large files, on a disk or in a store."""

from ganforge.commands.start import images_bar
from ganforge.console import show
from ganforge.data.cache import kept_of
from ganforge.data.image_set_writer import write_set
from ganforge.data.inventory import counted
from ganforge.data.listing import NOT_AN_IMAGE, list_folder
from ganforge.data.settings import DataSettings
from ganforge.settings import SettingsError


def pack(folder: str, out: str, shard_megabytes: int) -> None:
    """Pack what `ganforge scan` lists as used; print what is skipped, and what was made."""
    listing = list_folder(folder, kept_of(DataSettings()), "DIR")
    if not listing.images:
        raise SettingsError(
            f"DIR = {folder}: has no images; put PNG, JPEG, WebP, TIFF or BMP files there or "
            "below it"
        )
    with images_bar():
        made = write_set(listing.images, out, shard_megabytes * 2**20)
    for why, names in listing.skipped.items():
        if why != NOT_AN_IMAGE:
            show(f"skipped       {counted(why, names)}")
    show(
        f"packed        {made.images} images, {made.num_bytes / 2**20:,.1f} MiB in {made.shards} "
        f"shards: {out}",
        f"use it        --data {out}",
    )
