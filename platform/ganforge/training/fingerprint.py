"""The code fingerprint: the definitions that weights depend on, each by its own hash.

Nothing is executed to find them. From the system's class, the loop, the workers and the system's
own kind of data, the names that each function, class and constant uses are followed through the
sources of the package and of a user's files. A class counts member by member: a method is followed
when its name is used somewhere in what is followed already, so that what a class can draw, export
or measure stays out. Comments, docstrings, annotations of functions and the texts of errors and
warnings do not count. What cannot be resolved from the text (a computed attribute name, a star
import) counts as a whole module.

Installed libraries are not followed: their versions are in the environment_id. Settings are not
followed either: they enter a stage's id by value (see CUTS).
"""

import ast
import builtins
import hashlib
import importlib
import os
import tokenize
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import ganforge

ROOT = Path(ganforge.__file__).parent

#: Where training begins, besides a system's own class and kind of data: "module:name" below ROOT.
ENTRIES = (
    "training.loop:train",
    "training.workers:Workers",
    "training.resume:begin",
    "training.run:be_deterministic",
    "training.prepare:build_plan",
    "training.run:open_run_data",
    "schedule:Plan",
)
#: What is not followed, with the reason why no weight can change unseen.
CUTS = {
    "settings": "settings enter a stage's id by value",
    "migrations": "settings enter a stage's id by value",
    "assets": "files that settings name enter by the sha256 of their content",
    "systems.catalog": "it finds the class that this fingerprint begins with",
    "data.kinds:kind_of": "the system's own kind of data is an entry of its own",
    "systems.settings:SystemSettings.at": "settings enter a stage's id by value",
    "systems.settings:SystemSettings.identity": "settings enter a stage's id by value",
}
#: Calls whose attribute or module name is computed: what they reach is not in the text.
_COMPUTED = {"getattr", "setattr", "hasattr", "delattr"}
_DYNAMIC = {"eval", "exec", "globals", "locals", "vars", "__import__", "importlib.import_module"}
_LOGGERS = {"logger", "logging", "warnings"}
_PLAIN_DECORATORS = {
    "property", "cached_property", "staticmethod", "classmethod", "abstractmethod", "override",
    "contextmanager", "cache", "lru_cache", "no_grad", "inference_mode", "overload", "setter",
}  # fmt: skip
_VALIDATORS = {"model_validator", "field_validator", "field_serializer", "model_serializer"}
_UNUSED_DUNDERS = {"__repr__", "__str__", "__doc__"}


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


def code_fingerprint(system: type, sources: "Sources | None" = None) -> dict[str, str]:
    """sha256 of each definition that a system's weights depend on, by name.

    Definitions of the package are named by their path below it ("losses.gradient_penalty"), those
    of a user's file and of the modules next to it by their path ("./my_gan.py:MyGAN.losses").
    `sources` that were read before are not read again.
    """
    # by name at run time, since a table of classes says nothing about which row is used
    from ganforge.data.kinds import kind_of

    kind = kind_of(system.Data)  # pyright: ignore[reportAttributeAccessIssue]
    entries = [*(Key(*entry.split(":")) for entry in ENTRIES)]
    sources = sources or Sources(ROOT, _file_of(system))
    entries += [sources.key_of(found) for found in (system, kind.open, kind.find)]
    settings: type | None = getattr(system, "Settings", None)
    if settings is not None:
        entries.append(sources.key_of(settings))
    return definitions(entries, sources)


def definitions(
    entries: Iterable[Key], sources: "Sources", members: Iterable[str] = ()
) -> dict[str, str]:
    """The definitions that `entries` reach, each with its hash. `members` are names of methods that
    are called from elsewhere."""
    walk = _Walk(sources)
    for member in members:
        walk.use(member)
    for entry in entries:
        walk.reach(entry)
    walk.finish()
    return dict(sorted(walk.hashes.items()))


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
        path = _file_of(thing)
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
            path = self._path(name)
            self._modules[name] = None if path is None else _parse(name, path, self)
        return self._modules[name]

    def _path(self, name: str) -> Path | None:
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
        """What a definition is and uses; the same whoever reaches it."""
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
                return self._through(local[node.id])
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
            return self._through(module.imports[name])
        for star in module.stars:
            other = self.module(star)
            found = self.resolve(other, name) if other is not None else None
            if found is not None:
                return found
        return None

    def _through(self, key: Key) -> Key | None:
        """The definition behind an imported name, through modules that only pass it on."""
        if key.module == "=library" or not key.name or key.module in CUTS:
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
    called = _dotted(node.func)
    if called in _COMPUTED:
        given = node.args[1] if len(node.args) > 1 else None
        return not isinstance(given, ast.Constant)
    return called in _DYNAMIC


def _text(path: Path) -> str:
    with tokenize.open(path) as file:  # in the encoding it declares
        return file.read()


def _file_of(thing: Any) -> Path:
    import sys

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
    names = set(_bound_names(statement))
    for name in names:
        module.bound.setdefault(name, []).append(statement)
    if not isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        for node in ast.walk(statement):
            if isinstance(node, ast.Import | ast.ImportFrom):
                module.imports |= _imports(node, module.path, sources)
    if not names and not _is_text(statement) and not _only_imports(statement):
        module.loose.append(statement)


def _bound_names(statement: ast.stmt) -> Iterator[str]:
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


def _is_text(statement: ast.stmt) -> bool:
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
        if below is not None and sources._path(below) is not None:
            found[alias.asname or alias.name] = Key(below, "")
        elif base is not None:
            found[alias.asname or alias.name] = Key(base, alias.name)
        else:
            found[alias.asname or alias.name] = Key("=library", inner)
    return found


@dataclass
class _Class:
    """A class that is followed: its members by name, and which of them always count."""

    key: Key
    node: ast.ClassDef
    members: dict[str, list[ast.stmt]]
    always: Callable[[str], bool]


class _Walk:
    """Follows names from definition to definition until nothing new is reached."""

    def __init__(self, sources: Sources):
        self.sources = sources
        self.hashes: dict[str, str] = {}
        self._seen: set[Key] = set()
        self._whole: set[str] = set()
        self._used: set[str] = set()
        self._classes: list[_Class] = []
        self._waiting: list[Key] = []

    def use(self, name: str) -> None:
        """Some object's attribute of this name is used."""
        self._used.add(name)

    def reach(self, key: Key) -> None:
        """Count a definition, and later what it uses."""
        if key not in self._seen:
            self._seen.add(key)
            self._waiting.append(key)

    def finish(self) -> None:
        """Follow everything; members are looked at again whenever more names are in use."""
        while True:
            while self._waiting:
                self._define(self._waiting.pop())
            for each in list(self._classes):
                for name, statements in each.members.items():
                    if name in self._used or each.always(name):
                        self._member(each, name, statements)
            if not self._waiting:
                return

    def _define(self, key: Key) -> None:
        if key.module in CUTS or f"{key.module}:{key.name}" in CUTS:
            return
        module = self.sources.module(key.module)
        if module is None:
            return
        if not key.name:
            self._all_of(module)
            return
        name = key.name.partition(".")[0]
        statements = module.bound.get(name)
        if statements is None:
            found = self.sources.resolve(module, name)
            if found is None:
                raise LookupError(f"{key.module} defines no {name}")
            self.reach(found)
            return
        for star in module.stars:
            self.reach(Key(star, ""))
        if module.loose:
            self._count(Key(key.module, "(module)"), module, module.loose)
        only = statements[0]
        if len(statements) == 1 and isinstance(only, ast.ClassDef):
            self._class(Key(key.module, name), module, only)
        else:
            self._count(Key(key.module, name), module, statements)

    def _all_of(self, module: Module) -> None:
        """A whole module counts: every statement, and everything it uses."""
        if module.name in CUTS or module.name in self._whole:
            return
        self._whole.add(module.name)
        self._count(Key(module.name, "(whole)"), module, module.tree.body)
        for name in module.bound:
            self.reach(Key(module.name, name))

    def _class(self, key: Key, module: Module, node: ast.ClassDef) -> None:
        pydantic, inherited, known = self._bases(module, node)
        members: dict[str, list[ast.stmt]] = {}
        fields: list[ast.stmt] = []
        for statement in node.body:
            if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                members.setdefault(statement.name, []).append(statement)
            elif isinstance(statement, ast.Assign) or _is_class_variable(statement):
                for name in _bound_names(statement):
                    members.setdefault(name, []).append(statement)
            elif isinstance(statement, ast.AnnAssign):
                fields.append(_field(statement, pydantic))
            elif not _is_text(statement):
                fields.append(statement)
        head = ast.ClassDef(node.name, node.bases, node.keywords, fields, node.decorator_list)
        self._count(key, module, [head])

        def always(name: str) -> bool:
            decorators = [
                _last_name(d) for s in members[name] for d in getattr(s, "decorator_list", ())
            ]
            if any(d in _VALIDATORS for d in decorators):
                return False  # their outcome is in the settings' values
            if any(d not in _PLAIN_DECORATORS for d in decorators):
                return True
            if name.startswith("__") and name.endswith("__"):
                return name not in _UNUSED_DUNDERS
            return not known or name in inherited

        self._classes.append(_Class(key, node, members, always))

    def _bases(self, module: Module, node: ast.ClassDef) -> tuple[bool, set[str], bool]:
        """Whether a class is a settings model; the names its libraries' bases may call; whether
        all of these are known."""
        pydantic, names, known = False, set[str](), True
        waiting: list[tuple[Module, ast.expr]] = [(module, base) for base in node.bases]
        while waiting:
            here, base = waiting.pop()
            found = self.sources.target(here, base)
            if found is not None and found.module != "=library":
                if found.module in CUTS:
                    pydantic = True
                    continue
                other = self.sources.module(found.module)
                for statement in other.bound.get(found.name, ()) if other else ():
                    if other and isinstance(statement, ast.ClassDef):
                        waiting += [(other, inner) for inner in statement.bases]
                continue
            dotted = found.name if found is not None else _dotted(base)
            if dotted is None or dotted in ("object", "Protocol", "Generic", "ABC"):
                continue
            pydantic |= dotted.endswith("BaseModel")
            library = _library_names(dotted)
            known &= library is not None
            names |= library or set()
        return pydantic, names, known

    def _member(self, owner: _Class, name: str, statements: list[ast.stmt]) -> None:
        key = Key(owner.key.module, f"{owner.key.name}.{name}")
        if key in self._seen or f"{key.module}:{key.name}" in CUTS:
            return
        self._seen.add(key)
        module = self.sources.module(owner.key.module)
        assert module is not None
        self._count(key, module, statements)

    def _count(self, key: Key, module: Module, statements: Sequence[ast.stmt]) -> None:
        """Hash statements under a name, and follow what they use."""
        separator = ":" if key.module.startswith("./") else "."
        title = f"{key.module}{separator}{key.name}" if key.module else key.name
        if title in self.hashes:
            return
        facts = self.sources.facts(title, module, statements)
        self.hashes[title] = facts.sha256
        self._used |= facts.used
        for target in facts.reached:
            self.reach(target)


def _field(statement: ast.AnnAssign, pydantic: bool) -> ast.AnnAssign:
    """A field of a class as it counts: of settings the type, by which values are converted, since
    a default enters by the value that a run has; of other classes the default."""
    annotation = statement.annotation if pydantic else ast.Constant(None)
    value = None if pydantic else statement.value
    return ast.AnnAssign(statement.target, annotation, value, statement.simple)


def _decorators(statements: Sequence[ast.stmt]) -> Iterator[ast.expr]:
    for statement in statements:
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield from statement.decorator_list


def _is_class_variable(statement: ast.stmt) -> bool:
    """`name: ClassVar[…] = value`: shared by a class, and no field of it."""
    if not isinstance(statement, ast.AnnAssign) or statement.value is None:
        return False
    annotation = statement.annotation
    inner = annotation.value if isinstance(annotation, ast.Subscript) else annotation
    return _last_name(inner) == "ClassVar"


def _last_name(node: ast.expr) -> str:
    if isinstance(node, ast.Call):
        return _last_name(node.func)
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _dotted(node: ast.expr) -> str | None:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        base = _dotted(node.value)
        return None if base is None else f"{base}.{node.attr}"
    return _dotted(node.value) if isinstance(node, ast.Subscript) else None


@cache
def _library_names(dotted: str) -> set[str] | None:
    """The attributes of a library's class: what its own code may call. None: not to be found."""
    if "." not in dotted:
        found = getattr(builtins, dotted, None)
        return None if found is None else set(dir(found))
    parts = dotted.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:cut]))
            for part in parts[cut:]:
                found = getattr(found, part)
        except (ImportError, AttributeError):
            continue
        return set(dir(found))
    return None


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
            value = [each for each in value if not _is_text(each) and not _is_message(each)]
        elif isinstance(node, ast.Raise):
            value = value.func if isinstance(value, ast.Call) else value
        elif isinstance(node, ast.Call) and name in ("args", "keywords"):
            called = _last_name(node.func)
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
