"""The server of `ganforge compare` answers its own page, and nobody else."""

import http.client
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from recorded_grids import Recorded, record

from ganforge.comparison.collect import Collector
from ganforge.comparison.server import CompareServer
from ganforge.tracking.client import open_client


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    return record(tmp_path_factory.mktemp("store"), 2, images=1, sides=(16,))


@pytest.fixture(scope="module")
def server(recorded: Recorded, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CompareServer]:
    folder = tmp_path_factory.mktemp("above") / "served"
    folder.mkdir()
    (folder.parent / "secret.png").write_bytes(b"secret")
    collector = Collector(recorded.uri, ("faces",), folder, overwrite=True)
    with CompareServer(collector, collector.collect()) as found:
        thread = threading.Thread(target=found.serve_forever)
        thread.start()
        yield found
        found.shutdown()
        thread.join()


def ask(
    server: CompareServer, path: str, body: bytes | None = None, **headers: str
) -> tuple[int, bytes, dict[str, str]]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=20)
    given = {"Host": server.hosts[0]} | {k.replace("_", "-"): v for k, v in headers.items()}
    connection.putrequest("GET" if body is None else "POST", path, skip_host=True)
    for name, value in given.items():
        connection.putheader(name, value)
    if body is not None and "Content-Length" not in given:
        connection.putheader("Content-Length", str(len(body)))
    connection.endheaders(body)
    answer = connection.getresponse()
    found = answer.status, answer.read(), {k.lower(): v for k, v in answer.getheaders()}
    connection.close()
    return found


def choice(recorded: Recorded, **changes: object) -> bytes:
    first, second = recorded.runs
    given = {"key": "0" * 15 + "1", "first": first, "second": second, "better": "first"}
    return json.dumps(given | {"image": 0, "mark": 100} | changes).encode()


def test_it_listens_on_loopback_and_its_address_holds_a_secret(server: CompareServer) -> None:
    assert server.server_address[0] == "127.0.0.1"
    assert len(server.token) >= 32 and server.token in server.address
    status, content, headers = ask(server, f"/{server.token}/index.html")
    assert status == 200 and b"<title>Compare</title>" in content
    assert "default-src 'none'" in headers["content-security-policy"]
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["x-content-type-options"] == "nosniff"
    assert "access-control-allow-origin" not in headers


@pytest.mark.parametrize("name", ["", "index.html", "data.js", "data.json", "choices"])
def test_without_the_secret_or_under_another_name_nothing_is_shown(server, name) -> None:
    for path in (f"/{name}", f"/{'x' * 32}/{name}", f"//{name}"):
        status, content, _ = ask(server, path)
        assert status == 404 and b"COMPARISON" not in content and b"runs" not in content
    for host in ("evil.example", f"evil.example:{server.server_port}", "127.0.0.1", ""):
        status, content, _ = ask(server, f"/{server.token}/{name}", Host=host)
        assert status == 403 and b"runs" not in content


@pytest.mark.parametrize(
    "name",
    [
        "../secret.png", "tiles/../../secret.png", "%2e%2e/secret.png",
        "tiles/..%2f..%2fsecret.png",
        "tiles/", "tiles", "tiles/../index.html", "/etc/passwd", "..", "server.py", "__init__.py",
        "tiles/" + "0" * 32 + ".png",
    ],
)  # fmt: skip
def test_paths_stay_inside_the_page(server: CompareServer, name: str) -> None:
    status, content, _ = ask(server, f"/{server.token}/{name}")
    assert status == 404 and b"secret" not in content


def test_a_link_among_the_tiles_is_not_followed(server: CompareServer) -> None:
    folder: Path = server.collector.folder
    name = "tiles/" + "f" * 32 + ".png"
    (folder / name).symlink_to(folder.parent / "secret.png")
    assert ask(server, f"/{server.token}/{name}")[0] == 404


def test_a_choice_is_taken_from_the_page_alone(server: CompareServer, recorded: Recorded) -> None:
    path = f"/{server.token}/choices"
    good = {"Origin": f"http://{server.hosts[0]}", "Content_Type": "application/json"}

    def status(body: bytes, **changes: str) -> int:
        return ask(server, path, body, **{k: v for k, v in (good | changes).items() if v})[0]

    body = choice(recorded)
    for origin in ("", "null", "http://evil.example", f"https://{server.hosts[0]}"):
        assert status(body, Origin=origin) == 403
    assert status(body, Content_Type="text/plain") == 415
    assert status(body, Content_Length="5000000") == 413
    assert status(body, Content_Length="-1") == 413
    assert status(b"") == 413
    assert status(b"[" * 4000) == 400
    assert status(choice(recorded, key="../x")) == 409
    assert status(choice(recorded, first="0" * 32)) == 409
    run = open_client(recorded.uri).get_run(recorded.runs[0])
    assert not [tag for tag in run.data.tags if tag.startswith("preference")]
    answered, content, _ = ask(server, path, body, **good)
    assert answered == 200
    assert json.loads(content)[recorded.runs[0]] == {
        "won": 1,
        "lost": 0,
        "tied": 0,
        "share": 0.6667,
    }
    tags = open_client(recorded.uri).get_run(recorded.runs[0]).data.tags
    assert (tags["preference"], tags["preference.won"]) == ("0.6667", "1")
    shown = json.loads(ask(server, f"/{server.token}/data.json")[1])
    assert shown["served"] and shown["runs"][1]["preference"]["lost"] == 1
