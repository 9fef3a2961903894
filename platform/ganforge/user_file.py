"""Python in a file of the user's: a system, a search space, a sampler, a strategy."""

import hashlib
import importlib.util
import os
import sys
from pathlib import Path
from traceback import extract_tb
from types import ModuleType

from ganforge.settings import SettingsError, shown_path

#: by what the file is given for; the name of a system's module is a part of its fingerprint
_KINDS = {"system": "user"}


def module_name(path: Path, key: str) -> str:
    """What the module of a file is called. Files of one name in two folders are two, and so are a
    system and the search space in its file: running it again would make other classes."""
    sha256 = hashlib.sha256(os.fsencode(path)).hexdigest()
    return f"ganforge_{_KINDS.get(key, key)}_{path.stem}_{sha256[:12]}"


def run_file(path: Path, key: str) -> ModuleType:
    """The module in a file, which can import the files next to it; it is run anew.

    SettingsError, with the line at which it failed, as `key = path: …`.
    """
    prefix = f"{key} = {shown_path(path)}"
    path = path.expanduser().absolute()
    if not path.is_file():
        raise SettingsError(f"{prefix}: no such file")
    name = module_name(path, key)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    before = sys.modules.get(name)
    # dataclasses and pickle look a class's module up
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a file of somebody's can raise anything
        del sys.modules[name]
        if before is not None:
            sys.modules[name] = before
        lines = [f.lineno for f in extract_tb(error.__traceback__) if f.filename == spec.origin]
        where = f"line {lines[-1]}: " if lines else ""
        reason = str(error).strip().partition("\n")[0]
        raise SettingsError(f"{prefix}: {where}{type(error).__name__}: {reason}") from error
    return module
