"""A search that pays: stages that are trained once, branches, strategies."""

from pathlib import Path

from shown.command import PYTHON, ROOT, Check, pytest_file, run, script

STRESS = ROOT / "tests" / "stress"
STRATEGIES = ("halving", "freeze-thaw", "tpe", "random", "grid")


def branches(folder: Path) -> str:
    text = run([PYTHON, str(ROOT / "tests" / "stress" / "branches.py")], folder, seconds=2400)
    return "; ".join(text.strip().splitlines()[-3:])


def killed(folder: Path) -> str:
    """A search whose driver is killed ten times and resumed, beside one in peace."""
    found = []
    for name in STRATEGIES:
        words = ["--faults", "10", "--only", "driver", "--strategy", name, "--seed", "5"]
        text = run([PYTHON, str(STRESS / "chaos.py"), *words], folder, seconds=3600)
        found.append(text.strip().splitlines()[-1])
    return "; ".join(found)


CHECKS = {
    "branches": Check("14.3: sixteen adversarial variants of one pixel-trained stage", branches),
    "moved": Check(
        "14.4: branched, paused twice, moved between machines, reproduced from MLflow",
        pytest_file("-m", "cluster", "tests/cluster/test_lan.py", "-k", "moved", seconds=1500),
    ),
    "killed-searches": Check("14.5: ten kills of a search under each strategy", killed),
    "search-costs": Check(
        "14.6: plan, costs and budget of real searches",
        lambda folder: "; ".join(
            run([PYTHON, str(STRESS / "search_costs.py")], folder, seconds=2400).splitlines()[-8:]
        ),
    ),
    "shared-ledger": Check(
        "14.5: two searches at once on one ledger",
        script("tests/stress/shared_ledger.py", seconds=1200),
    ),
}
