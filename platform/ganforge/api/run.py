"""A recorded run: its stages, metrics and images, its model, and the proof that it repeats."""

import tempfile
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

        from ganforge.search.report.animation import in_order
        from ganforge.settings import SettingsError
        from ganforge.tracking.queries import fetch_file, list_files

        paths = in_order(list_files(self.uri, self.run_id, "grids"))
        chosen = [path for index, _, path in paths if stage in (None, index)]
        if not chosen:
            which = "" if stage is None else f" of stage {stage}"
            raise SettingsError(f"run {self.run_id}: no sample grid{which} is recorded")
        with tempfile.TemporaryDirectory() as folder:
            image = Image.open(fetch_file(self.uri, self.run_id, chosen[-1], Path(folder)))
            image.load()  # and closes the file
            return image

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
        try:
            reproduce(
                self.run_id, "", self.uri, folders, {}, self.metric, None, None, [], strict=strict
            )
        except SystemExit as stop:
            if stop.code == 2:
                raise SettingsError(
                    f"run {self.run_id}: is not trained again, what differs is printed above; "
                    "give the images that it was trained on"
                ) from None
            return stop.code in (None, 0)
        return True

    def _repr_html_(self) -> str:
        from html import escape

        score = self.score
        shown = "no finished stage" if score is None else f"{self.metric} {score:.4g}"
        return f"<b>run {escape(self.run_id)}</b>: {len(self.stages)} stages, {escape(shown)}"
