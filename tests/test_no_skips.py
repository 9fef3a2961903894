"""`pytest --no-skips`: a run in which a test was skipped is red, in one process and in several."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HELPERS = Path(__file__).parent / "helpers"
SKIPPED = "import pytest\ndef test_it(): pytest.skip('no browser')"
MODULE = "import pytest\npytest.importorskip('no_such_module')"
SHARED = "import pytest\ndef test_it(): pytest.skip('set GANFORGE_SHARED')"


@pytest.mark.parametrize(
    ("code", "options", "shared", "status"),
    [
        ("", ["--no-skips"], "", 0),
        (SKIPPED, [], "", 0),
        (SKIPPED, ["--no-skips"], "", 1),
        (SKIPPED, ["--no-skips", "-n", "2"], "", 1),
        (MODULE, ["--no-skips"], "", 1),
        (SHARED, ["--no-skips"], "absent", 0),
        (SHARED, ["--no-skips"], "", 1),
    ],
)
def test_only_tests_that_need_an_absent_shared_folder_may_skip(
    code, options, shared, status, tmp_path
):
    (tmp_path / "conftest.py").write_text("from no_skips import *\n")
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "test_it.py").write_text("def test_other(): pass\n" + code)
    variables = {"PYTHONPATH": str(HELPERS), "GANFORGE_SHARED": str(tmp_path / shared)}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *options],
        cwd=tmp_path,
        env=os.environ | variables | {"PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode == status, done.stdout + done.stderr
