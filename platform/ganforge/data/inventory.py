"""What of the images that a run is given is used, converted and skipped, by kind."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ganforge.data.listing import NOT_AN_IMAGE, Listing
from ganforge.data.raster import Header

Names = Mapping[str, tuple[str, ...]]
_NAMED = 3


@dataclass(frozen=True)
class Inventory:
    """What is used, by its header; names by what is done to it, and by why others are not read."""

    used: Mapping[str, Header] = field(default_factory=dict)
    converted: Names = field(default_factory=dict)
    skipped: Names = field(default_factory=dict)

    def __add__(self, other: "Inventory") -> "Inventory":
        return Inventory(
            {**self.used, **other.used},
            _joined(self.converted, other.converted),
            _joined(self.skipped, other.skipped),
        )

    @property
    def faults(self) -> list[str]:
        """What a strict run refuses: a line for each kind of conversion and of skipped images."""
        skipped = {why: names for why, names in self.skipped.items() if why != NOT_AN_IMAGE}
        return [
            f"{word} {counted(why, names)}"
            for word, kinds in (("converted:", self.converted), ("skipped:", skipped))
            for why, names in kinds.items()
        ]

    def line(self) -> str:
        """All of it in one line: counts, kinds and the first names."""
        parts = [f"{len(self.used)} used"]
        for word, kinds in (("converted", self.converted), ("skipped", self.skipped)):
            if kinds:
                listed = ", ".join(counted(why, names) for why, names in kinds.items())
                parts.append(f"{word}: {listed}")
        return "; ".join(parts)


def counted(why: str, names: Iterable[str]) -> str:
    """`3 × GIF (a.gif, b.gif, c.gif)`."""
    listed = list(names)
    more = ", …" if len(listed) > _NAMED else ""
    return f"{len(listed)} × {why} ({', '.join(listed[:_NAMED])}{more})"


def _joined(one: Names, other: Names) -> dict[str, tuple[str, ...]]:
    return {why: one.get(why, ()) + other.get(why, ()) for why in {**one, **other}}


def skipped(listing: Listing, prefix: str = "") -> Inventory:
    """What a folder holds besides images; `prefix` is put before the names."""
    return Inventory(
        skipped={why: tuple(prefix + n for n in names) for why, names in listing.skipped.items()}
    )


def converted(headers: Mapping[str, Header]) -> Inventory:
    """What is done to images of these headers, by name, before a network sees them."""
    found: dict[str, list[str]] = {}
    for name, header in headers.items():
        for why in conversions(header):
            found.setdefault(why, []).append(name)
    return Inventory(dict(headers), {why: tuple(names) for why, names in sorted(found.items())})


def conversions(header: Header) -> list[str]:
    """What training does to such an image besides decoding it."""
    said = {
        "16 bits a channel reduced to 8": header.deep,
        "alpha dropped": header.alpha,
        "further channels dropped": header.extra,
        "CMYK made RGB": header.ink,
        "only the first frame read": header.frames,
        f"colour profile not applied, {header.profile}": bool(header.profile),
    }
    return [why for why, applies in said.items() if applies]
