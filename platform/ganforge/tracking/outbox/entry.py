"""What an entry of an outbox may be. An outbox lies in a storage that others may write to, so each
entry is checked where it is taken out, before anything that it names is touched."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from ganforge.append_log import Entry
from ganforge.tracking.outbox.log import BLOB_NAME

_LONGEST_PATH = 500
#: what MLflow itself takes for the id of a run; empty until the run is made
_RunId = Annotated[str, Field(pattern=r"^([a-zA-Z0-9][a-zA-Z0-9_-]{0,255})?$")]
#: a search or a run, and a trial in it; it stands between quotes in a query to the store
_Key = Annotated[str, Field(pattern=r"^[a-zA-Z0-9_.:/ -]{0,200}$")]
_Blob = Annotated[str, Field(pattern=rf"^{BLOB_NAME.pattern}$")]
_Plain = str | int | float | bool


def _inside_a_run(path: str) -> str:
    parts = path.split("/")
    if len(path) > _LONGEST_PATH or not path.isprintable() or "\\" in path:
        raise ValueError("no path inside a run")
    if any(part in ("", ".", "..") for part in parts) or ":" in parts[0]:
        raise ValueError("leads out of its run")
    return path


_Path = Annotated[str, AfterValidator(_inside_a_run)]


class _Part(BaseModel):
    # an older version's further parts are no danger: nothing looks at them
    model_config = ConfigDict(extra="ignore", strict=True)


class _Run(_Part):
    uri: str = ""
    run_id: _RunId = ""
    experiment: str = ""
    key: _Key = ""


class _Dataset(_Part):
    name: str
    digest: str
    source: str


class _Opening(_Part):
    name: str
    start: int
    tags: dict[str, str]
    params: dict[str, _Plain | None]
    settings: str
    data: _Dataset | None
    parent_key: _Key


class _Entry(_Part):
    at: int
    run: _Run
    step: int = 0
    position: Annotated[list[int], Field(min_length=2, max_length=2)] | None = None
    metrics: dict[str, float] = Field(default_factory=dict)
    params: dict[str, _Plain | None] = Field(default_factory=dict)
    files: dict[_Path, _Blob] = Field(default_factory=dict)
    stages: list[dict[str, Any]] = Field(default_factory=list)
    tags: dict[str, _Plain | None] = Field(default_factory=dict)
    status: Literal["FINISHED", "FAILED", "KILLED", "RUNNING"] | None = None
    open: _Opening | None = None


def entry_error(entry: Entry) -> str:
    """Why an entry is not one that ganforge writes; empty where it is. A damaged line, which is an
    empty entry, is none either, and nothing to be refused."""
    if not entry:
        return ""
    try:
        _Entry.model_validate(entry)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        where = ".".join(ascii(part).strip("'") for part in first["loc"])
        value = ascii(first["input"])
        shown = value if len(value) <= 100 else value[:97] + "..."
        return f"{where} = {shown}: {first['msg']}"
    return ""
