"""The real photographs inside the installed scikit-learn and scikit-image."""

from importlib.util import find_spec
from pathlib import Path

from ganforge.data.source_image import SourceImage
from ganforge.settings import SettingsError

# package, folder, files; docs/data.md says who made them and under which terms
_PLACES = (
    (
        "skimage",
        "data",
        (
            "astronaut.png",
            "chelsea.png",
            "coffee.png",
            "hubble_deep_field.jpg",
            "ihc.png",
            "motorcycle_left.png",
            "motorcycle_right.png",
            "retina.jpg",
            "rocket.jpg",
        ),
    ),
    ("sklearn", "datasets/images", ("china.jpg", "flower.jpg")),
)


def builtin_images() -> list[SourceImage]:
    """Eleven photographs, ten scenes. The packages are located, not imported: they are heavy."""
    images = []
    for package, folder, names in _PLACES:
        spec = find_spec(package)
        places = list(spec.submodule_search_locations or ()) if spec else []
        for name in names:
            path = Path(places[0], folder, name) if places else None
            if path is None or not path.is_file():
                raise SettingsError(
                    f"data.source = photographs: the photograph {package}/{name} is missing; "
                    "`pip install scikit-learn scikit-image`, or set data.root to a folder"
                )
            scene = "motorcycle" if name.startswith("motorcycle") else ""
            images.append(SourceImage(f"{package}/{name}", path, scene))
    return images


#: Two domains of photographs with different colours and subjects: warm close-ups, and cool
#: images of distant things.
DOMAINS = {
    "source": (
        "skimage/chelsea.png",
        "skimage/coffee.png",
        "skimage/ihc.png",
        "skimage/retina.jpg",
    ),
    "target": (
        "skimage/hubble_deep_field.jpg",
        "skimage/rocket.jpg",
        "sklearn/china.jpg",
        "sklearn/flower.jpg",
    ),
}
