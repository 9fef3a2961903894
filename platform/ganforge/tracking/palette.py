"""One colour for each trial, in MLflow's pages and in the images of the report."""

# Okabe and Ito's, for colour-blind readers too; MLflow's own choice gives two trials one colour
_COLOURS = (
    "#0072b2",
    "#e69f00",
    "#009e73",
    "#cc79a7",
    "#56b4e9",
    "#d55e00",
    "#8a8a00",
    "#5b3a8e",
    "#000000",
    "#8c564b",
)


def colour(number: int) -> str:
    """The colour of trial `number`; from the eleventh on they repeat."""
    return _COLOURS[number % len(_COLOURS)]
