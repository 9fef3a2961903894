"""`ganforge scan`: what of a folder would be used, converted and skipped, and why."""

import sys

from ganforge.console import complain, show
from ganforge.data.inventory import counted
from ganforge.data.scan import Scan, scan_folders

_WIDTH = 14


def scan(folders: list[str], strict: bool) -> None:
    """Print it by kind; exit code 1 where files cannot be read, or `strict` refuses something."""
    found = scan_folders(folders)
    for line in lines(found):
        show(line)
    for line in found.unreadable:
        complain(line)
    if strict:
        for line in found.faults:
            complain(f"--strict: {line}")
    if found.unreadable or (strict and found.faults):
        sys.exit(1)


def lines(found: Scan) -> list[str]:
    """A line for each kind of file, and for each pair of images that look alike."""
    inventory = found.inventory
    rows = [("used", f"{len(inventory.used)} images")]
    for head, kinds in (("converted", inventory.converted), ("skipped", inventory.skipped)):
        rows += [(head, counted(why, names)) for why, names in kinds.items()]
    rows += [("shared", f"{name} is {other}") for name, other in found.shared.items()]
    rows += [("look alike", str(copies)) for copies in found.copies]
    if found.notes:
        rows.append(("note", found.notes))
    return [f"{head:<{_WIDTH}}{text}" for head, text in rows]
