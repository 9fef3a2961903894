"""The page over HTTP, on loopback only: it follows a running search, and records choices.

To reach the port is not enough: the address has a random token in it. A page of another site in the
same browser does not know it, and its Origin is refused, as is a name of its own that resolves to
loopback (DNS rebinding), which stands in Host.
"""

import json
import re
import secrets
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from ganforge.comparison.collect import TILES, Collector, preference_data
from ganforge.comparison.page import DATA, PARTS, as_script, part
from ganforge.local_files import MOST_SOURCE, read_file
from ganforge.settings import SettingsError
from ganforge.tracking.preference import read_choice, record_choices

HOST = "127.0.0.1"
_MOST_BODY = 4096
#: at most that often the store is asked for what is new
_SECONDS = 10.0
_TILE = re.compile(rf"{TILES}/[0-9a-f]{{32}}\.png")
_KINDS = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
    ".png": "image/png",
}
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src "
    "'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Refused(Exception):
    """A request that is answered with a status and a reason."""

    def __init__(self, status: HTTPStatus, reason: str):
        super().__init__(reason)
        self.status = status


class CompareServer(ThreadingHTTPServer):
    """Serves the page of a collector, whose tiles lie in its folder; `address` is what to open."""

    daemon_threads = True

    def __init__(self, collector: Collector, data: dict[str, Any], port: int = 0):
        super().__init__((HOST, port), _Handler)
        self.collector, self.token = collector, secrets.token_urlsafe(24)
        self._data, self._read, self._lock = data, time.monotonic(), threading.Lock()

    @property
    def hosts(self) -> tuple[str, str]:
        return f"{HOST}:{self.server_port}", f"localhost:{self.server_port}"

    @property
    def address(self) -> str:
        return f"http://{self.hosts[0]}/{self.token}/index.html"

    def data(self, *, anew: bool) -> dict[str, Any]:
        """What the page shows; `anew` what the store has by now. One thread at a time asks it."""
        with self._lock:
            if anew and time.monotonic() - self._read > _SECONDS:
                self._data = self.collector.collect()
                self._read = time.monotonic()
            return self._data | {"served": True}

    def choose(self, record: Any) -> dict[str, Any]:
        """Record a choice between two runs of the page; what people chose of both by now."""
        choice = read_choice(record)
        with self._lock:
            shown = {run["id"]: run for run in self._data["runs"]}
            if missing := {choice.first, choice.second} - shown.keys():
                raise SettingsError(f"runs {', '.join(sorted(missing))}: are not on this page")
            found = record_choices(self.collector.uri, [choice])
            for run, preference in found.items():
                shown[run]["preference"] = preference_data(preference)
        return {run: preference_data(preference) for run, preference in found.items()}


class _Handler(BaseHTTPRequestHandler):
    server: CompareServer  # pyright: ignore[reportIncompatibleVariableOverride]
    protocol_version = "HTTP/1.1"
    timeout = 30.0
    server_version, sys_version = "ganforge", ""

    def do_GET(self) -> None:
        self._answer(self._get)

    def do_POST(self) -> None:
        self._answer(self._post)

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are not printed: they name what others chose."""

    def _answer(self, make: Callable[[], tuple[str, bytes, bool]]) -> None:
        status = HTTPStatus.OK
        try:
            kind, content, lasting = make()
        except Refused as refused:
            status, kind, content, lasting = refused.status, "text/plain", _line(refused), False
        except SettingsError as error:
            status, kind, content, lasting = HTTPStatus.CONFLICT, "text/plain", _line(error), False
        except Exception as error:  # the store: the page says so, and stays
            status = HTTPStatus.BAD_GATEWAY
            kind, content, lasting = "text/plain", _line(error), False
        if status != HTTPStatus.OK:
            self.close_connection = True  # a body may be unread
        self.send_response(status)
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        # a tile is named by its pixels
        self.send_header("Cache-Control", "max-age=86400, immutable" if lasting else "no-store")
        self.send_header("Content-Type", f"{kind}; charset=utf-8" if "text" in kind else kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _name(self) -> str:
        """The file that is asked for, by somebody who may."""
        if self.headers.get("Host", "") not in self.server.hosts:
            raise Refused(HTTPStatus.FORBIDDEN, "this server answers under its own address alone")
        _, token, name = (*self.path.split("?")[0].split("/", 2), "", "")[:3]
        if not secrets.compare_digest(token.encode(), self.server.token.encode()):
            raise Refused(HTTPStatus.NOT_FOUND, "not found: open the address that was printed")
        return name

    def _get(self) -> tuple[str, bytes, bool]:
        name = self._name()
        if name == "data.json":
            found = json.dumps(self.server.data(anew=True), allow_nan=False)
            return "application/json", found.encode(), False
        if name == DATA:
            return _KINDS[".js"], as_script(self.server.data(anew=False)), False
        if name in PARTS:
            return _KINDS[Path(name).suffix], part(name), False
        if _TILE.fullmatch(name):
            path = self.server.collector.folder / name
            if path.is_file() and not path.is_symlink():
                return _KINDS[".png"], read_file(path, MOST_SOURCE), True
        raise Refused(HTTPStatus.NOT_FOUND, "not found")

    def _post(self) -> tuple[str, bytes, bool]:
        name = self._name()
        if name != "choices":
            raise Refused(HTTPStatus.NOT_FOUND, "not found")
        if self.headers.get("Origin") not in [f"http://{host}" for host in self.server.hosts]:
            raise Refused(HTTPStatus.FORBIDDEN, "choices are taken from this page alone")
        if self.headers.get("Content-Type", "").split(";")[0] != "application/json":
            raise Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "a choice is application/json")
        length = self.headers.get("Content-Length", "")
        short = length.isascii() and length.isdecimal() and len(length) <= len(str(_MOST_BODY))
        if not short or not 0 < int(length) <= _MOST_BODY:
            raise Refused(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a choice has at most {_MOST_BODY} bytes"
            )
        try:
            record = json.loads(self.rfile.read(int(length)))
        except (ValueError, RecursionError):
            raise Refused(HTTPStatus.BAD_REQUEST, "a choice is JSON") from None
        found = self.server.choose(record)
        return "application/json", json.dumps(found).encode(), False


def _line(error: Exception) -> bytes:
    return (str(error).splitlines() or [type(error).__name__])[0][:300].encode()
