"""The 1,797 handwritten digits inside the installed scikit-learn: 8 × 8 pixels, with labels."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np

from ganforge.data.source_image import SourceImage
from ganforge.settings import SettingsError

CLASSES = tuple("0123456789")


def digit_images() -> list[SourceImage]:
    """In the order of `sklearn.datasets.load_digits`, levels 0 … 16 stretched to 0 … 255.

    The package is located, not imported: it is heavy.
    """
    spec = find_spec("sklearn")
    places = list(spec.submodule_search_locations or ()) if spec else []
    path = Path(places[0], "datasets/data/digits.csv.gz") if places else None
    if path is None or not path.is_file():
        raise SettingsError(
            "data.source = digits: sklearn/datasets/data/digits.csv.gz is missing; "
            "`pip install scikit-learn`, or set data.root to a folder"
        )
    table = np.loadtxt(path, delimiter=",")
    levels = np.round(table[:, :64] * 255 / 16).astype(np.uint8).reshape(-1, 8, 8)
    return [
        SourceImage(f"digits/{number:04d}", Path(f"digits/{number:04d}"), "", int(label), pixels)
        for number, (label, pixels) in enumerate(zip(table[:, 64], levels, strict=True))
    ]
