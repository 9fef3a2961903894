"""Run what an issue asks to be shown, on the committed code, and write down what came out.

    python tests/acceptance.py NAME [NAME …]      python tests/acceptance.py --list

Each check has its own time budget. Command, seconds and result are appended to docs/acceptance.md.
Checks that need the benchmark images look for them in ../shared or GANFORGE_SHARED.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from shown import (
    by_hand,
    cluster,
    doors,
    emoji,
    faults,
    flagship,
    from_image,
    from_noise,
    house,
    large,
    search,
    tracking,
)
from shown.command import ROOT, Failed

ROOMS = (
    flagship, faults, tracking, from_noise, from_image, cluster, emoji,
    house, doors, search, by_hand, large,
)  # fmt: skip
CHECKS = {name: check for room in ROOMS for name, check in room.CHECKS.items()}


def commit() -> str:
    words = ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"]
    return subprocess.run(words, capture_output=True, text=True).stdout.strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", choices=[[], *CHECKS], metavar="NAME")
    parser.add_argument("--list", action="store_true")
    given = parser.parse_args()
    if given.list or not given.names:
        for name, check in CHECKS.items():
            print(f"{name:16} {check.says}")
        return
    failed = False
    for name in given.names:
        check, began = CHECKS[name], time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            try:
                result = check.does(Path(folder))
            except Failed as error:
                result, failed = f"FAILED: {' '.join(str(error).split())}", True
        seconds = time.monotonic() - began
        row = f"| {name} | {check.says} | {commit()} | {seconds:.0f} s | {result} |\n"
        with open(ROOT / "docs" / "acceptance.md", "a") as file:
            file.write(row)
        print(row)
    sys.exit(failed)


if __name__ == "__main__":
    main()
