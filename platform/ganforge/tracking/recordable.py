"""Whether a run can be recorded, asked before it is trained: what is refused later is trained
without a record."""

from mlflow.exceptions import MlflowException

from ganforge.settings import SettingsError
from ganforge.tracking.client import check_reachable, experiment_id, open_client
from ganforge.tracking.database import SQLITE, check_writable
from ganforge.tracking.named_store import check_artifact_uri, shown, shown_uri

#: what a store answers that will not change by itself
_FOR_EVER = (
    "PERMISSION_DENIED",
    "UNAUTHENTICATED",
    "INVALID_PARAMETER_VALUE",
    "BAD_REQUEST",
    "CUSTOMER_UNAUTHORIZED",
)


def check_recordable(uri: str, experiment: str) -> None:
    """SettingsError where the store would never take a run of this experiment: one that was
    deleted, a name that cannot be one, a file that cannot be written, no permission.

    A server that is down is not a reason: what it does not get is kept and sent later.
    """
    if not experiment.strip() or not experiment.isprintable():
        raise SettingsError(
            f"experiment = {shown(experiment)!r}: a name has at least one sign, all of them "
            "printable. Fix: another name"
        )
    if uri.startswith(SQLITE):
        check_writable(uri)
    else:
        try:
            check_reachable(uri)
        except OSError:
            return
    try:
        client = open_client(uri)
        number = experiment_id(client, uri, experiment)
        found = client.get_experiment(number)
    except SettingsError:
        raise
    except Exception as error:  # MLflow's, and for a damaged file SQLAlchemy's and alembic's
        first = shown((str(error).splitlines() or [type(error).__name__])[0])
        for_ever = isinstance(error, MlflowException) and error.error_code in _FOR_EVER
        # a file that is locked is free again later; whatever else it says, it says again
        if for_ever or (uri.startswith(SQLITE) and "locked" not in str(error)):
            raise SettingsError(
                f"tracking URI = {shown_uri(uri)}: cannot record a run of experiment "
                f"{shown(experiment)} ({first}). Fix: another experiment or store, or credentials "
                "that may write there"
            ) from None
        return
    check_artifact_uri(uri, found.artifact_location or "")
