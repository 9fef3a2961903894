"""Source files as definitions: what a module binds and imports, what a name in it stands for, and
what of a definition counts. Everything is read from the text; nothing is executed.
"""

import ast
import hashlib
import os
import sys
import tokenize
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import ganforge
from ganforge.local_files import MOST_SOURCE, check_fit

ROOT = Path(ganforge.__file__).parent
#: Calls whose attribute or module name is computed: what they reach is not in the text.
_COMPUTED = {"getattr", "setattr", "hasattr", "delattr"}
_DYNAMIC = {"eval", "exec", "globals", "locals", "vars", "__import__", "importlib.import_module"}
_LOGGERS = {"logger", "logging", "warnings"}


class Key(NamedTuple):
    """A definition: a module by its dotted name, and a name in it ("Class.member" for members)."""

    module: str
    name: str


@dataclass
class Module:
    """One source file as the names it binds: to statements, and to what it imports."""

    name: str
    path: Path
    tree: ast.Module
    bound: dict[str, list[ast.stmt]] = field(default_factory=dict)
    imports: dict[str, Key] = field(default_factory=dict)
    stars: list[str] = field(default_factory=list)
    loose: list[ast.stmt] = field(default_factory=list)


def user_sources(system_file: Path, root: Path = ROOT) -> dict[str, str]:
    """The text of each file of a user's system, by its path below their common folder; nothing for
    a system of an installed package."""
    root = root.resolve()
    file = system_file.resolve()
    if file.is_relative_to(root):
        return {}
    sources = Sources(root, file)
    waiting, found = [file], dict[Path, str]()
    while waiting:
        path = waiting.pop()
        if path in found or path.is_relative_to(root):
            continue
        found[path] = _text(path)
        module = sources.module(sources.name_of(path))
        assert module is not None
        targets = {key.module for key in sources.imported(module)} | set(module.stars)
        waiting += [other.path for name in targets if (other := sources.module(name)) is not None]
    top = Path(os.path.commonpath([path.parent for path in found]))
    return {path.relative_to(top).as_posix(): text for path, text in sorted(found.items())}


class Sources:
    """The modules of the package under `root`, and those next to a user's file."""

    def __init__(self, root: Path = ROOT, user_file: Path | None = None):
        self.root = root.resolve()
        file = None if user_file is None else user_file.resolve()
        self.user = file if file is not None and not file.is_relative_to(self.root) else None
        self._modules: dict[str, Module | None] = {}
        self._facts: dict[str, Facts] = {}

    def key_of(self, thing: Any) -> Key:
        """The definition of a class or function of this process, in these sources."""
        module: str = thing.__module__
        if module.startswith("ganforge."):
            return Key(module.removeprefix("ganforge."), thing.__qualname__)
        path = file_of(thing)
        return Key(self.name_of(path.resolve()), thing.__qualname__)

    def name_of(self, path: Path) -> str:
        """How a file's module is called here: dotted below the package, else "./path.py"."""
        if path.is_relative_to(self.root):
            parts = path.relative_to(self.root).with_suffix("").parts
            return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        assert self.user is not None
        return "./" + Path(os.path.relpath(path, self.user.parent)).as_posix()

    def module(self, name: str) -> Module | None:
        """A module by that name; None where there is no such file here."""
        if name not in self._modules:
            path = self.path_of(name)
            self._modules[name] = None if path is None else _parse(name, path, self)
        return self._modules[name]

    def path_of(self, name: str) -> Path | None:
        if name.startswith("./"):
            assert self.user is not None
            path = (self.user.parent / name).resolve()
            return path if path.is_file() else None
        parts = name.split(".") if name else []
        return _file(self.root, parts) if parts else self.root / "__init__.py"

    def locate(self, dotted: str, importer: Path, level: int) -> str | None:
        """The module that an import in the file `importer` means; None for an installed library."""
        parts = dotted.split(".") if dotted else []
        if level:
            path = _file(importer.parents[level - 1], parts)
        elif parts[0] == "ganforge":
            return ".".join(parts[1:])
        elif importer.is_relative_to(self.root):
            return None
        else:
            path = _file(_top(importer), parts)
        return None if path is None else self.name_of(path.resolve())

    def imported(self, module: Module) -> Iterator[Key]:
        """Every import of a module, those inside functions included."""
        yield from module.imports.values()
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Import | ast.ImportFrom):
                yield from _imports(node, module.path, self).values()

    def facts(self, title: str, module: Module, statements: Sequence[ast.stmt]) -> "Facts":
        """What a definition is and uses; the same from wherever it is reached."""
        if title not in self._facts:
            text = "\n".join(_canonical(statement) for statement in statements)
            used, reached = set[str](), list[Key]()
            for statement in statements:
                self._follow(module, statement, used, reached)
            sha256 = hashlib.sha256(text.encode()).hexdigest()
            self._facts[title] = Facts(sha256, frozenset(used), tuple(dict.fromkeys(reached)))
        return self._facts[title]

    def _follow(
        self, module: Module, statement: ast.stmt, used: set[str], reached: list[Key]
    ) -> None:
        nodes = list(_counting(statement))
        local: dict[str, Key] = {}
        for node in nodes:
            if isinstance(node, ast.Import | ast.ImportFrom):
                local |= _imports(node, module.path, self)
        for node in nodes:
            if isinstance(node, ast.Attribute | ast.Name):
                if isinstance(node, ast.Attribute):
                    used.add(node.attr)
                target = self.target(module, node, local)
                # a module by itself is only the way to its names, as in `layers.pixel_norm`
                if target is not None and target.module != "=library" and target.name:
                    reached.append(target)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                # a name in a string may be an attribute's, where a caller gives it
                if node.value.isidentifier():
                    used.add(node.value)
            elif isinstance(node, ast.keyword) and node.arg:
                used.add(node.arg)
            elif isinstance(node, ast.Call) and _is_computed(node):
                reached.append(Key(module.name, ""))

    def target(
        self, module: Module, node: ast.expr, local: dict[str, Key] | None = None
    ) -> Key | None:
        """What a name, or a chain of attributes of a module, stands for."""
        if isinstance(node, ast.Name):
            if local and node.id in local:
                return self.through(local[node.id])
            return self.resolve(module, node.id)
        if isinstance(node, ast.Subscript):  # Generic[T] as a base
            return self.target(module, node.value, local)
        if isinstance(node, ast.Attribute):
            base = self.target(module, node.value, local)
            if base is None:
                return None
            if base.module == "=library":
                return Key("=library", f"{base.name}.{node.attr}")
            if base.name:
                return None  # an attribute of an object
            below = f"{base.module}.{node.attr}" if base.module else node.attr
            if self.module(below) is not None:
                return Key(below, "")
            other = self.module(base.module)
            return self.resolve(other, node.attr) if other is not None else None
        return None

    def resolve(self, module: Module, name: str) -> Key | None:
        if name in module.bound:
            return Key(module.name, name)
        if name in module.imports:
            return self.through(module.imports[name])
        for star in module.stars:
            other = self.module(star)
            found = self.resolve(other, name) if other is not None else None
            if found is not None:
                return found
        return None

    def through(self, key: Key) -> Key | None:
        """The definition behind an imported name, through modules that only pass it on."""
        if key.module == "=library" or not key.name:
            return key
        other = self.module(key.module)
        if other is None or key.name in other.bound:
            return key
        return self.resolve(other, key.name)


class Facts(NamedTuple):
    """A definition's hash, the names of attributes that it uses, and the definitions."""

    sha256: str
    used: frozenset[str]
    reached: tuple[Key, ...]


def _is_computed(node: ast.Call) -> bool:
    """A call that takes an attribute or a module by a name which is not in the text."""
    called = dotted_name(node.func)
    if called in _COMPUTED:
        given = node.args[1] if len(node.args) > 1 else None
        return not isinstance(given, ast.Constant)
    return called in _DYNAMIC


def _text(path: Path) -> str:
    check_fit(path.stat(), path, MOST_SOURCE)
    with tokenize.open(path) as file:  # in the encoding it declares
        return file.read()


def file_of(thing: Any) -> Path:
    file = sys.modules[thing.__module__].__file__
    assert file is not None
    return Path(file)


def _file(folder: Path, parts: Sequence[str]) -> Path | None:
    """The file of a module below a folder, where there is one."""
    package = folder.joinpath(*parts)
    for path in (package.with_suffix(".py"), package / "__init__.py"):
        if parts and path.is_file():
            return path
    return package / "__init__.py" if not parts and (package / "__init__.py").is_file() else None


def _top(path: Path) -> Path:
    """The folder from which a file's own package, or the file itself, is imported."""
    folder = path.parent
    while (folder / "__init__.py").is_file():
        folder = folder.parent
    return folder


def _parse(name: str, path: Path, sources: Sources) -> Module:
    module = Module(name, path, ast.parse(_text(path)))
    for statement in module.tree.body:
        _bind(module, statement, sources)
    return module


def _bind(module: Module, statement: ast.stmt, sources: Sources) -> None:
    """Note what a statement of a module binds; one that binds nothing belongs to all of it."""
    if isinstance(statement, ast.Import | ast.ImportFrom):
        module.imports |= _imports(statement, module.path, sources)
        if isinstance(statement, ast.ImportFrom) and statement.names[0].name == "*":
            found = sources.locate(statement.module or "", module.path, statement.level)
            module.stars += [] if found is None else [found]
        return
    names = set(bound_names(statement))
    for name in names:
        module.bound.setdefault(name, []).append(statement)
    if not isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        for node in ast.walk(statement):
            if isinstance(node, ast.Import | ast.ImportFrom):
                module.imports |= _imports(node, module.path, sources)
    if not names and not is_text(statement) and not _only_imports(statement):
        module.loose.append(statement)


def bound_names(statement: ast.stmt) -> Iterator[str]:
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield statement.name
        return
    for node in ast.walk(statement):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Attribute | ast.Subscript) and isinstance(node.ctx, ast.Store):
            # X["key"] = … and Class.member = … change what X and Class are
            inner: ast.expr = node
            while isinstance(inner, ast.Attribute | ast.Subscript):
                inner = inner.value
            if isinstance(inner, ast.Name):
                yield inner.id


def is_text(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def _only_imports(statement: ast.stmt) -> bool:
    """`if TYPE_CHECKING:` and the like."""
    return isinstance(statement, ast.If | ast.Try) and all(
        isinstance(node, ast.Import | ast.ImportFrom) for node in statement.body
    )


def _imports(node: ast.Import | ast.ImportFrom, importer: Path, sources: Sources) -> dict[str, Key]:
    """What an import binds: Key(module, name), with an empty name for a module itself; libraries
    as Key("=library", dotted name)."""
    found: dict[str, Key] = {}
    if isinstance(node, ast.Import):
        for alias in node.names:
            # `import a.b` binds a, `import a.b as c` binds a.b
            dotted = alias.name if alias.asname else alias.name.partition(".")[0]
            located = sources.locate(dotted, importer, 0)
            found[alias.asname or dotted] = (
                Key("=library", dotted) if located is None else Key(located, "")
            )
            if located is not None and not alias.asname and "." in alias.name:
                inner = sources.locate(alias.name, importer, 0)
                if inner is not None:
                    found[alias.name] = Key(inner, "")
        return found
    for alias in node.names:
        if alias.name == "*":
            continue
        base = sources.locate(node.module or "", importer, node.level)
        inner = f"{node.module}.{alias.name}" if node.module else alias.name
        below = sources.locate(inner, importer, node.level)
        if below is not None and sources.path_of(below) is not None:
            found[alias.asname or alias.name] = Key(below, "")
        elif base is not None:
            found[alias.asname or alias.name] = Key(base, alias.name)
        else:
            found[alias.asname or alias.name] = Key("=library", inner)
    return found


def last_name(node: ast.expr) -> str:
    if isinstance(node, ast.Call):
        return last_name(node.func)
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def dotted_name(node: ast.expr) -> str | None:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        base = dotted_name(node.value)
        return None if base is None else f"{base}.{node.attr}"
    return dotted_name(node.value) if isinstance(node, ast.Subscript) else None


def _counting(node: ast.AST) -> Iterator[ast.AST]:
    """A node and all below it that can reach a weight: see `_parts`."""
    yield node
    for _, value in _parts(node):
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from _counting(child)


def _parts(node: ast.AST) -> Iterator[tuple[str, Any]]:
    """The fields of a node without what no weight depends on: docstrings, annotations of functions,
    the texts of errors, assertions and warnings, descriptions of settings."""
    for name, value in ast.iter_fields(node):
        if name in _SKIPPED.get(type(node), ()) or name in ("type_comment", "type_params"):
            continue
        if isinstance(value, list) and value and isinstance(value[0], ast.stmt):
            value = [each for each in value if not is_text(each) and not _is_message(each)]
        elif isinstance(node, ast.Raise):
            value = value.func if isinstance(value, ast.Call) else value
        elif isinstance(node, ast.Call) and name in ("args", "keywords"):
            called = last_name(node.func)
            if called.endswith(("Error", "Exception", "Warning")):
                continue
            if called == "setting" and name == "args":
                value = value[:1]
        if value is not None and value != []:
            yield name, value


#: Fields of nodes that reach no weight.
_SKIPPED: dict[type[ast.AST], tuple[str, ...]] = {
    ast.FunctionDef: ("returns",),
    ast.AsyncFunctionDef: ("returns",),
    ast.arg: ("annotation",),
    ast.Assert: ("msg",),
    ast.Constant: ("kind",),
    ast.Name: ("ctx",),
    ast.Attribute: ("ctx",),
    ast.Subscript: ("ctx",),
    ast.List: ("ctx",),
    ast.Tuple: ("ctx",),
    ast.Starred: ("ctx",),
}


def _is_message(statement: ast.stmt) -> bool:
    """A warning or a printed line."""
    if not isinstance(statement, ast.Expr) or not isinstance(statement.value, ast.Call):
        return False
    function = statement.value.func
    if isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name):
        return function.value.id in _LOGGERS
    return isinstance(function, ast.Name) and function.id == "print"


def _canonical(node: Any) -> str:
    """A node as text, the same in every Python version that parses it alike."""
    if isinstance(node, ast.AST):
        parts = ",".join(f"{name}={_canonical(value)}" for name, value in _parts(node))
        return f"{type(node).__name__}({parts})"
    if isinstance(node, list):
        return "[" + ",".join(map(_canonical, node)) + "]"
    return repr(node)
