"""A recorded run: its stages, metrics and images, its model, and the proof that it repeats."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    from PIL.Image import Image

    from ganforge.api.model import TrainedModel
    from ganforge.training.report import StageResult


@dataclass(frozen=True)
class Run:
    """A training or a trial in a tracking store; `folder` holds its states, where that is known."""

    run_id: str
    uri: str
    metric: str
    folder: str = ""

    @property
    def stages(self) -> "list[StageResult]":
        """The finished stages, with metrics, identity and hashes."""
        from ganforge.tracking.queries import fetch_stages

        return fetch_stages(self.uri, self.run_id)

    @property
    def settings(self) -> dict[str, Any]:
        """What was trained: {"system": name, "settings": values}."""
        from ganforge.tracking.queries import fetch_settings

        return fetch_settings(self.uri, self.run_id)

    @property
    def score(self) -> float | None:
        """The metric at the end of the last finished stage."""
        return self.stages[-1].score(self.metric) if self.stages else None

    @property
    def preference(self) -> float | None:
        """The share of comparisons that people decided for it (docs/search.md); None before the
        first one."""
        from ganforge.tracking.preference import recorded_preference
        from ganforge.tracking.queries import fetch_tags

        found = recorded_preference(fetch_tags(self.uri, self.run_id))
        return found.share if found.count else None

    def curves(self) -> "pd.DataFrame":
        """A row for each report, a column for each metric, by images shown to the critic."""
        import pandas as pd

        from ganforge.tracking.queries import fetch_curves

        found = fetch_curves(self.uri, self.run_id)
        return pd.DataFrame(found).sort_index().rename_axis("images")

    def grid(self, stage: int | None = None) -> "Image":
        """The newest sample grid, or the newest of a stage."""
        from PIL import Image

        from ganforge.settings import SettingsError
        from ganforge.tracking.grids import newest_grid

        content = newest_grid(self.uri, self.run_id, stage)
        if content is None:
            which = "" if stage is None else f" of stage {stage}"
            raise SettingsError(f"run {self.run_id}: no sample grid{which} is recorded")
        return Image.open(io.BytesIO(content))

    def model(self, stage: int | None = None, *, trust_code: bool = False) -> "TrainedModel":
        """The averaged generator of the last finished stage, or of `stage`."""
        from ganforge.api.model import load

        reference = f"runs:/{self.run_id}"
        return load(reference, stage=stage, tracking_uri=self.uri, trust_code=trust_code)

    def reproduce(self, data: str | Path | Sequence[str] = (), *, strict: bool = False) -> bool:
        """Train it again and compare every stored state, as `ganforge reproduce` does: whether all
        came out equal. `data` is where the images are now, if elsewhere. SettingsError where it is
        not tried, because images or settings are others."""
        from ganforge.commands.reproduce import reproduce
        from ganforge.settings import SettingsError

        folders = [str(data)] if isinstance(data, str | Path) else list(data)
        result = reproduce(
            self.run_id, "", self.uri, folders, {}, self.metric, None, None, [], strict=strict
        )
        if result.verdict == "refused":
            raise SettingsError(
                f"run {self.run_id}: is not trained again, what differs is printed above; "
                "give the images that it was trained on"
            )
        return result.exit_code == 0

    def _repr_html_(self) -> str:
        """The score at the end of each stage, and the newest sample grid."""
        from html import escape

        from ganforge.settings import SettingsError

        scores = [stage.score(self.metric) for stage in self.stages]
        shown = ", ".join("none" if score is None else f"{score:.4g}" for score in scores)
        text = f"{self.metric} by stage: {shown}" if scores else "no finished stage"
        try:
            image = as_html(self.grid())
        except SettingsError:  # none is recorded yet
            image = ""
        return f"<p><b>run {escape(self.run_id)}</b>: {escape(text)}</p>{image}"


def as_html(image: "Image") -> str:
    """An image as a part of a page that needs no other file, never wider than the page."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    content = base64.b64encode(buffer.getvalue()).decode()
    return f'<img style="max-width: 100%" src="data:image/png;base64,{content}">'
