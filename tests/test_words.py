"""The words of the project: what people read, and the names in the code, keep to one vocabulary.

A private word costs every reader a look into a dictionary that does not exist. Each rule gives a
pattern, what to say in its stead, and a sentence that it must catch; ordinary English that looks
alike passes (figure 2 of a paper, to take place) and tried in a test below.
"""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import typer.main
from typer.testing import CliRunner

from ganforge.commands.cli import app
from ganforge.commands.describe import describe
from ganforge.systems.catalog import SYSTEMS, load_system

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "platform" / "ganforge"
SOURCES = sorted(p for part in ("platform", "search_spaces", "trainers")
                 for p in (ROOT / part).rglob("*.py"))  # fmt: skip
#: records of the past: they keep the words of their time
HISTORY = {"CHANGELOG.md", "acceptance.md"}
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAGES = [page for page in PAGES if page.name not in HISTORY and page.exists()]


@dataclass(frozen=True)
class Rule:
    """A pattern of the text, what to say in its stead, and a sentence with it."""

    pattern: str
    instead: str
    planted: str


TEXT = [
    Rule(r"\bspool(s|ed|ing)?\b", "outbox", "MLflow is down: see the spool"),
    Rule(r"\bverbs?\b", "command", "options of every verb"),
    Rule(r"\b(go|goes|going|gone|went) on\b", "continue", "warning: the training goes on"),
    Rule(r"\ball the same\b", "anyway", "continuing all the same"),
    Rule(r"\bcan(not|'t)? be had\b|\bto be had\b", "unavailable", "its weights cannot be had"),
    Rule(
        # "there is no", "is no longer" are ordinary
        r"(?<!there )\b(is|are|was) no (?!longer|more|less|better|worse|larger|smaller)[a-z]",
        "is not a",
        "a.txt: is no image",
    ),
    Rule(r"\bwhoever\b", "the process that", "sent by whoever closes the run"),
    Rule(r"\bbeside\b", "next to, with", "a file beside the checkpoints"),
    Rule(r"\bremed(y|ies)\b", "fix", "the machine and the remedy"),
    Rule(r"\b(is|are|nothing) wrong\b|^wrong$", "error", "3 of 9 are wrong"),
    Rule(r"^good$", "ok", "good"),
    Rule(r"\bmend(s|ed|ing)?\b", "fix", "a torn tail is mended"),
    Rule(r"\bpictures?\b", "image", "eleven built-in pictures"),
    Rule(r"\bfilms?\b", "animation", "the best trial's film"),
    Rule(
        # a figure of a paper, and matplotlib's
        r"(?<!matplotlib )(?<!matplotlib\.)\bfigures?\b(?! \d| S\d| [A-Z]\d)",
        "metric",
        "the figure that runs are compared by",
    ),
    Rule(
        r"(?<!in )(?<!take )(?<!takes )(?<!taken )(?<!took )(?<!taking )(?<!first )(?<!decimal )"
        r"\bplaces?\b",
        "path, uri, position, folder or slots",
        "cannot be a folder; name another place",
    ),
    Rule(r"\bin one place\b|\bat a place\b", "path, uri, position or folder", "kept in one place"),
    Rule(
        r"\bthe same words\b|\bwords typed\b|\bother words for a\b|\bsame words as\b",
        "arguments, options",
        "after a crash: the same words and --resume",
    ),
    Rule(r"\bsay(s|ing)? it and leave\b|\bsay it\b", "show", "say it and leave"),
    Rule(
        r"\b(is|are|was|were|be|been|and|not|already) told\b|\btold (as|to|of|by|what|that)\b",
        "reported, recorded",
        "errors are told at the end",
    ),
    Rule(r"\breap(s|ed|ing)?\b", "close orphan runs", "orphans are reaped"),
    Rule(r"\badopt(s|ed|ing)?\b", "restore", "the next worker adopts it"),
    Rule(r"\bsettle[sd]?\b", "the one thing that is done", "everything is settled"),
    Rule(r"\bcosts? a word\b|\bworth a word\b|\bwithout a word\b", "message", "worth a word"),
    Rule(r"\bdesk\b", "driver client", "the driver's desk was closed"),
]

#: a name is split into its words (make_player -> make, player); one of these is too many
NAME_WORDS = {
    "book": "SearchState",
    "desk": "DriverClient",
    "spool": "Outbox",
    "exchange": "TrialCoordinator",
    "heard": "RunSummary",
    "verb": "command",
    "verbs": "commands",
    "halves": "paired_views",
    "worlds": "multiprocess",
    "reap": "close_orphans",
    "adopt": "restore",
    "settle": "what it does",
    "settled": "what it did",
    "told": "report, reported",
    "sees": "receptive_field",
    "picture": "image",
    "pictures": "images",
    "film": "animation",
    "remedy": "fix",
    "remedies": "fixes",
    "mend": "fix",
    "place": "path, uri, position or folder",
    "places": "slots, paths",
    "words": "options, arguments, text",
    "whoever": "the process that",
    "beside": "next to, with",
}
#: figures are matplotlib's where it is imported, and metrics elsewhere
FIGURES = {"figure": "metric", "figures": "metrics"}
#: whole names, as they are written
NAMES = {
    "Tracking": "RunRef",
    "Lines": "AppendLog",
    "Watch": "TuneCallback",
    "Tell": "ReportForwarder",
    "Words": "CliOptions",
    "carry": "RemoteOutbox",
    "room_for": "wait_for_capacity",
    "marks": "field_flags",
}
#: names of functions and classes alone
DEFINITIONS = {
    "owner": "make_player",
    "deal": "round_robin",
    "bare": "strip_comments",
    "tell": "print_…, report_…",
    "_tell": "print_…, report_…",
    "watch": "what it records",
    "dead": "is_dead",
    "good": "ok",
    "wrong": "error",
}
#: names that mean something private in one folder only
FOLDERS = {
    "systems": {"begin": "init_networks", "new": "init_block"},
    "cluster": {"groups": "trial_slots"},
}


def faults_of_text(text: str) -> Iterator[str]:
    """Each private word of a text, with what to say and where it stands."""
    flat = " ".join(text.split())
    for rule in TEXT:
        for found in re.finditer(rule.pattern, flat, re.IGNORECASE):
            around = flat[max(0, found.start() - 30) : found.end() + 30]
            yield f"{found[0]!r}: say {rule.instead} (… {around} …)"


def readable(markdown: str) -> str:
    """A page without the addresses of its links, which nobody reads."""
    return re.sub(r"\]\([^)]*\)|https?://\S+", " ", markdown)


def messages(tree: ast.Module) -> Iterator[ast.Constant]:
    """The string constants of a file that people may read: all but docstrings, keys and names."""
    hidden = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            hidden.add(node.value)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in hidden:
            verdict = node.value in ("good", "wrong")
            if " " in node.value.strip() or verdict:
                yield node


def names(node: ast.AST, inside: bool = False) -> Iterator[tuple[str, int, bool]]:
    """Every name that a file gives to others: the name, its line, and whether it is a function or
    class. What a function calls its own variables is its own affair (`inside`)."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        yield node.name, node.lineno, True
        inside = True
    elif isinstance(node, ast.ClassDef):
        yield node.name, node.lineno, True
        inside = False
    elif isinstance(node, ast.arg):
        yield node.arg, node.lineno, False
    elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and not inside:
        yield node.id, node.lineno, False
    elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
        yield node.attr, node.lineno, False
    for child in ast.iter_child_nodes(node):
        yield from names(child, inside)


def split_name(name: str) -> list[str]:
    """make_player -> make, player; TrialCoordinator -> trial, coordinator."""
    return [part.lower() for part in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)]


def faults_of_names(tree: ast.Module, folder: str = "") -> Iterator[str]:
    """Each private name that a file gives to something."""
    plots = any(
        isinstance(node, ast.Import | ast.ImportFrom) and "matplotlib" in ast.unparse(node)
        for node in ast.walk(tree)
    )
    refused = NAME_WORDS if plots else NAME_WORDS | FIGURES
    local = FOLDERS.get(folder, {})
    seen: set[str] = set()
    for name, line, defined in names(tree):
        if name in seen:
            continue
        instead = [refused[part] for part in split_name(name) if part in refused]
        instead += [NAMES[name]] if name in NAMES else []
        instead += [local[name]] if (defined or folder == "cluster") and name in local else []
        instead += [DEFINITIONS[name]] if defined and name in DEFINITIONS else []
        for say in instead[:1]:
            seen.add(name)
            yield f"line {line}: {name}: call it {say}"


def folder_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0] if path.is_relative_to(PACKAGE) else ""


@pytest.mark.parametrize("rule", TEXT, ids=lambda rule: rule.instead)
def test_each_rule_catches_its_planted_sentence(rule):
    assert any(rule.instead in fault for fault in faults_of_text(rule.planted))
    assert re.search(rule.pattern, rule.planted, re.IGNORECASE)


@pytest.mark.parametrize(
    "sentence",
    [
        "alpha moves as in figure 2 of arXiv:1710.10196",
        "Figures S1 and A2 of the supplement; a matplotlib figure",
        "training takes place on the workers, clipping in place of a penalty",
        "there is no such folder; the run is no longer stored",
        "the lines of the file, one word a line; two decimal places",
        "besides 4 GB of memory",
        "replaces it; a placement group",
    ],
)
def test_ordinary_english_passes(sentence):
    assert not list(faults_of_text(sentence))


PLANTED_NAMES = [
    "class Book: pass",
    "class Tracking: pass",
    "class Lines: pass",
    "class Watch: pass",
    "class Tell: pass",
    "class Heard: pass",
    "class Words: pass",
    "class TrialExchange: pass",
    "def owner(): pass",
    "def reap(): pass",
    "def adopt_runs(): pass",
    "def deal(): pass",
    "def bare(): pass",
    "def tell(): pass",
    "def settle(): pass",
    "def room_for(): pass",
    "def dead(): pass",
    "def good(): pass",
    "def wrong(): pass",
    "def f(words): pass",
    "def f(verb): pass",
    "def f(remedy: str): pass",
    "class A:\n    sees: int = 0",
    "class A:\n    def __init__(self):\n        self.spool = 1",
    "marks = {}",
    "halves, worlds = 1, 2",
    "num_pictures = 3",
    "film_path = 3",
    "figures = {}",
    "storage_place = 3",
    "carry = 1",
    "told = 1",
    "_DESK = 1",
    "mend = 1",
]


@pytest.mark.parametrize("code", PLANTED_NAMES)
def test_private_names_are_caught(code):
    assert list(faults_of_names(ast.parse(code)))


def test_names_of_one_folder_and_ordinary_names():
    begin = ast.parse("class System:\n    def begin(self): pass")
    assert list(faults_of_names(begin, "systems")) and not list(faults_of_names(begin, "cluster"))
    plots = ast.parse("from matplotlib.figure import Figure\nfigure = Figure()")
    assert not list(faults_of_names(plots))
    assert not list(faults_of_names(ast.parse("lines = placement = replaced = new = ledger = 1")))


def test_messages_are_found_and_docstrings_are_not():
    tree = ast.parse(
        '"""A picture of it."""\nx = {"picture": f"a picture of {y}"}\n'
        'raise E("its film" " is lost")'
    )
    found = [fault for node in messages(tree) for fault in faults_of_text(str(node.value))]
    assert len(found) == 2


COMMANDS = ["", *getattr(typer.main.get_command(app), "commands")]  # noqa: B009


@pytest.mark.parametrize("command", COMMANDS, ids=lambda name: name or "ganforge")
def test_help(command):
    shown = CliRunner().invoke(app, [*command.split(), "--help"])
    assert shown.exit_code == 0 and "Usage" in shown.output
    assert not list(faults_of_text(shown.output))


@pytest.mark.parametrize("system", SYSTEMS)
def test_descriptions_of_settings(system):
    rows = describe(load_system(system).Settings())
    assert rows
    faults = [
        f"{row['key']}: {fault}"
        for row in rows
        for text in (row["key"].replace(".", " ").replace("_", " "), row["meaning"])
        for fault in faults_of_text(text)
    ]
    assert not faults, "\n" + "\n".join(faults)


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_messages_and_names_of_the_code(path):
    tree = ast.parse(path.read_text())
    faults = [
        f"line {node.lineno}: {fault}"
        for node in messages(tree)
        for fault in faults_of_text(str(node.value))
    ]
    faults += faults_of_names(tree, folder_of(path))
    assert not faults, "\n" + "\n".join(faults)


@pytest.mark.parametrize("path", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_pages(path):
    faults = list(faults_of_text(readable(path.read_text())))
    assert not faults, "\n" + "\n".join(faults)
