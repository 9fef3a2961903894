"""What an entry of an outbox may be. An outbox lies in a storage that others may write to, so each
entry is checked where it is taken out, before anything that it names is touched: what passes here
can be written into a store, and read back."""

from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from ganforge.append_log import Entry
from ganforge.tracking.outbox.log import BLOB_NAME
from ganforge.training.report import checked_stages

_LONGEST_PATH = 500
#: settings, the deepest part of an entry, lie at most 12 deep in each other
_DEPTH = 32
#: integers of a database are of 64 bits; a time in milliseconds is before the year 5138
_LARGEST, _LATEST = 2**63, 10**14
#: what MLflow itself takes for the id of a run; empty until the run is made
_RunId = Annotated[str, Field(pattern=r"^([a-zA-Z0-9][a-zA-Z0-9_-]{0,255})?$")]
#: a search or a run, and a trial in it; it stands between quotes in a query to the store
_Key = Annotated[str, Field(pattern=r"^[a-zA-Z0-9_.:/ -]{0,200}$")]
_Blob = Annotated[str, Field(pattern=rf"^{BLOB_NAME.pattern}$")]
_Plain = str | int | float | bool
_Time = Annotated[int, Field(ge=0, lt=_LATEST)]


def _inside_a_run(path: str) -> str:
    parts = path.split("/")
    if len(path) > _LONGEST_PATH or not path.isprintable() or "\\" in path:
        raise ValueError("no path inside a run")
    if any(part in ("", ".", "..") for part in parts) or ":" in parts[0]:
        raise ValueError("leads out of its run")
    return path


_Path = Annotated[str, AfterValidator(_inside_a_run)]


def _of_stages(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    checked_stages(records)
    return records


class _Part(BaseModel):
    # an older version's further parts are no danger: nothing looks at them
    model_config = ConfigDict(extra="ignore", strict=True)


class _Run(_Part):
    uri: str = ""
    run_id: _RunId = ""
    experiment: str = ""
    key: _Key = ""

    @model_validator(mode="after")
    def _named(self) -> Self:
        if not self.run_id and not (self.experiment and self.key):
            raise ValueError("names no run: neither its id nor its experiment and key")
        return self


class _Dataset(_Part):
    name: str
    digest: str
    source: str


class _Opening(_Part):
    name: str
    start: _Time
    tags: dict[str, str]
    params: dict[str, _Plain | None]
    settings: str
    data: _Dataset | None
    parent_key: _Key


class _Entry(_Part):
    at: _Time
    run: _Run
    step: Annotated[int, Field(ge=0)] = 0
    position: Annotated[list[int], Field(min_length=2, max_length=2)] | None = None
    metrics: dict[str, float] = Field(default_factory=dict)
    params: dict[str, _Plain | None] = Field(default_factory=dict)
    files: dict[_Path, _Blob] = Field(default_factory=dict)
    stages: Annotated[list[dict[str, Any]], AfterValidator(_of_stages)] = Field(
        default_factory=list
    )
    tags: dict[str, _Plain | None] = Field(default_factory=dict)
    status: Literal["FINISHED", "FAILED", "KILLED", "RUNNING"] | None = None
    open: _Opening | None = None


def entry_error(entry: Entry) -> str:
    """Why an entry is not one that ganforge writes; empty where it is. A damaged line, which is an
    empty entry, is none either, and nothing to be refused."""
    if not entry:
        return ""
    if why := _unstorable(entry):
        return why
    try:
        _Entry.model_validate(entry)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        where = ".".join(ascii(part).strip("'") for part in first["loc"])
        value = ascii(first["input"])
        shown = value if len(value) <= 100 else value[:97] + "..."
        return f"{where} = {shown}: {first['msg']}"
    return ""


def _unstorable(value: Any, depth: int = 0) -> str:
    """Why no database or file takes a value of JSON, wherever it stands; empty where they do."""
    if isinstance(value, str):
        return "" if value.isascii() or _is_text(value) else f"{ascii(value)[:100]} is not text"
    if isinstance(value, int):
        return "" if -_LARGEST <= value < _LARGEST else "an integer of more than 64 bits"
    if not isinstance(value, dict | list):
        return ""
    if depth == _DEPTH:
        return f"lists and tables lie more than {_DEPTH} deep in each other"
    inner = [*value, *value.values()] if isinstance(value, dict) else value
    return next((why for part in inner if (why := _unstorable(part, depth + 1))), "")


def _is_text(value: str) -> bool:
    """JSON can hold halves of characters, which are none."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
