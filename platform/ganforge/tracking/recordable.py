"""Whether a run can be recorded, asked before it is trained: what is refused later is trained
without a record."""

from mlflow.exceptions import MlflowException

from ganforge.local_files import Busy
from ganforge.settings import SettingsError
from ganforge.tracking.client import check_reachable, experiment_id, open_client
from ganforge.tracking.database import SQLITE, check_writable
from ganforge.tracking.named_store import check_artifact_uri, shown

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
    except Busy as error:
        raise SettingsError(f"tracking URI = {uri}: {error}. Fix: end that process") from None
    except MlflowException as error:
        first = shown(str(error).splitlines()[0])
        if error.error_code in _FOR_EVER or "out-of-date database schema" in first:
            raise SettingsError(
                f"tracking URI = {shown(uri)}: refuses the experiment {shown(experiment)} "
                f"({first}). Fix: another experiment or store, or credentials that may write there"
            ) from None
        return
    except OSError:
        return
    check_artifact_uri(uri, found.artifact_location or "")
