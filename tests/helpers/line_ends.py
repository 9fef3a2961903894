"""A pre-commit hook: text files end with one newline and their lines without spaces.

python tests/helpers/line_ends.py FILE …      corrects the files; exit code 1 where it had to
"""

import sys
from pathlib import Path


def corrected(text: str) -> str:
    """The text with no spaces at the ends of lines and one newline at its own end."""
    lines = [line.rstrip(" \t") for line in text.split("\n")]
    return ("\n".join(lines).rstrip("\n") + "\n") if any(lines) else ""


def main(paths: list[str]) -> int:
    changed = False
    for path in map(Path, paths):
        before = path.read_bytes().decode()
        after = corrected(before)
        if after != before:
            path.write_bytes(after.encode())
            print(f"corrected {path}")
            changed = True
    return int(changed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
