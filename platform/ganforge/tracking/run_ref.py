"""Where one run is recorded, and the limits that all its writers share."""

from dataclasses import asdict, dataclass

from ganforge.addresses import without_credentials

#: Metrics in one request: the tracking store's limit.
METRICS_PER_REQUEST = 1000


@dataclass(frozen=True)
class RunRef:
    """Where one run is recorded; small and picklable, it goes from the driver to rank 0.

    `run_id` is empty while the store has not made the run, because it was down when the run was
    opened: `experiment` and `key` then say which one it will be. Credentials that an older record
    has in its address are left out: they are taken from the environment.
    """

    uri: str
    run_id: str
    experiment: str = ""
    key: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "uri", without_credentials(self.uri))

    def entry(self) -> dict[str, str]:
        """The part `run` of an entry."""
        return asdict(self)
