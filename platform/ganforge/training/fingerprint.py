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
import importlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from ganforge.training.source_code import (
    ROOT,
    Key,
    Module,
    Sources,
    bound_names,
    dotted_name,
    file_of,
    is_text,
    last_name,
)

#: Where training begins, besides a system's own class and kind of data: "module:name" below ROOT.
ENTRIES = (
    "training.loop:train",
    "training.workers:Workers",
    "training.resume:begin",
    "training.divergence:LastGood",
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
    "systems.settings:SystemSettings.workers_at_least": "it came later, and reaches no weight",
}
_PLAIN_DECORATORS = {
    "property", "cached_property", "staticmethod", "classmethod", "abstractmethod", "override",
    "contextmanager", "cache", "lru_cache", "no_grad", "inference_mode", "overload", "setter",
}  # fmt: skip
_VALIDATORS = {"model_validator", "field_validator", "field_serializer", "model_serializer"}
_UNUSED_DUNDERS = {"__repr__", "__str__", "__doc__"}


def _cut(module: str) -> bool:
    """Whether a module, or the package that it is in, is not followed."""
    return module in CUTS or module.partition(".")[0] in CUTS


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
    sources = sources or Sources(ROOT, file_of(system))
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
        if _cut(key.module) or f"{key.module}:{key.name}" in CUTS:
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
        if _cut(module.name) or module.name in self._whole:
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
                for name in bound_names(statement):
                    members.setdefault(name, []).append(statement)
            elif isinstance(statement, ast.AnnAssign):
                if f"{key.module}:{key.name}.{ast.unparse(statement.target)}" not in CUTS:
                    fields.append(_field(statement, pydantic))
            elif not is_text(statement):
                fields.append(statement)
        head = ast.ClassDef(node.name, node.bases, node.keywords, fields, node.decorator_list)
        self._count(key, module, [head])

        def always(name: str) -> bool:
            decorators = [last_name(each) for each in _decorators(members[name])]
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
                if _cut(found.module):
                    pydantic = True
                    continue
                other = self.sources.module(found.module)
                for statement in other.bound.get(found.name, ()) if other else ():
                    if other and isinstance(statement, ast.ClassDef):
                        waiting += [(other, inner) for inner in statement.bases]
                continue
            dotted = found.name if found is not None else dotted_name(base)
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
    return last_name(inner) == "ClassVar"


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
