"""Tensors of other people: what they are called names no other file, and is true; nothing in them
runs."""

import ast
import hashlib
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from ganforge import assets
from ganforge.assets import from_cache, from_path, keep, keep_bytes, present, tensors_sha256
from ganforge.settings import SettingsError
from ganforge.systems.perceptual import resolve_network
from ganforge.tracking.artifacts import asset_path
from ganforge.training.checkpoint import MANIFEST, Damaged, Store, _manifest_bytes

PACKAGE = Path(assets.__file__).parent
TENSORS = {"features.0.weight": torch.ones(2)}
NAME = "sha256:" + tensors_sha256(TENSORS)
OUTSIDE = [
    "sha256:../../x",
    "sha256:/etc/x",
    "sha256:" + "0" * 63,
    NAME + "/../y",
    NAME[:7] + NAME[7:].upper(),
    "sha256:",
    NAME + "\n",
]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GANFORGE_CACHE", str(tmp_path / "home" / "cache"))
    return tmp_path / "home" / "cache"


@pytest.mark.parametrize("name", OUTSIDE, ids=ascii)
def test_a_hash_that_is_a_path_leaves_the_cache_nowhere(name: str, cache: Path) -> None:
    for use in (present, lambda name: from_cache(name, "perceptual.network"), asset_path):
        with pytest.raises(SettingsError, match="64 hexadecimal digits"):
            use(name)
    with pytest.raises(SettingsError, match="64 hexadecimal digits"):
        keep(name, TENSORS)
    with pytest.raises(SettingsError, match=r"perceptual\.network = .*64 hexadecimal digits"):
        resolve_network(name, "perceptual.network")
    assert not list(cache.parent.rglob("*.safetensors"))


def test_tensors_are_kept_under_their_own_hash_only(cache: Path) -> None:
    with pytest.raises(SettingsError, match="have the hash sha256:"):
        keep("sha256:" + "0" * 64, TENSORS)
    with pytest.raises(SettingsError, match="have the hash sha256:"):
        keep_bytes("sha256:" + "0" * 64, save(TENSORS))
    with pytest.raises(SettingsError, match="is not safetensors"):
        keep_bytes(NAME, b"\x80\x04nonsense")
    assert not cache.exists()
    keep_bytes(NAME, save(TENSORS))
    assert torch.equal(from_cache(NAME, "k")["features.0.weight"], torch.ones(2))
    (file,) = (cache / "assets").iterdir()
    file.write_bytes(file.read_bytes()[:20])
    with pytest.raises(SettingsError, match="is damaged; delete it"):
        from_cache(NAME, "k")


#: calls that may run what they read
_LOADS = ("torch.load", "np.load", "joblib.load", "yaml.load", "yaml.unsafe_load", "eval", "exec")


class _Code:
    """Runs when it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (print, ("the pickle ran",))


def test_a_pickle_in_the_form_of_tensors_does_not_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "vgg.pth"
    torch.save({"features.0.weight": _Code()}, path)
    with pytest.raises(SettingsError, match="not a file of tensors"):
        from_path(str(path), "perceptual.network")
    store = Store(str(tmp_path / "run"))
    content = path.read_bytes()
    listing = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    manifest = {"index": 0, "step": 1, "files": {"networks.safetensors": listing}}
    files = {"networks.safetensors": content, MANIFEST: _manifest_bytes(manifest)}
    store.folders.write("000-000000001.abcd", files)
    with pytest.raises(Damaged, match="is not safetensors"):
        store.load("000-000000001.abcd")
    assert "ran" not in capsys.readouterr().out


def test_nothing_that_can_run_is_loaded_anywhere() -> None:
    """Every load in the sources: torch.load with weights_only=True, np.load with
    allow_pickle=False, and pickles only between the processes of one command."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            call, name = ast.unparse(node.func), path.relative_to(PACKAGE).as_posix()
            safe = {k.arg: ast.unparse(k.value) for k in node.keywords}
            if call == "torch.load" and safe.get("weights_only") == "True":
                continue
            if call == "np.load" and safe.get("allow_pickle") == "False":
                continue
            if call in _LOADS or call.endswith(("pickle.load", "pickle.loads", "Unpickler")):
                found.append(f"{name}:{node.lineno} {call}")
    # a private folder that this process made itself
    assert [line.split(":")[0] for line in found] == ["training/multiprocess.py"], found
