"""Kills, faults, damage."""

from shown.command import Check, pytest_file, script

CHECKS = {
    "kills": Check(
        "3.1: 100 kills and 20 external ones",
        script("tests/stress/kill_resume.py", "--n", "100", seconds=3600),
    ),
    "chaos": Check(
        "13.4: 200 random faults over the life of small searches",
        script("tests/stress/chaos.py", "--faults", "200", "--seed", "26", seconds=4 * 3600),
    ),
    "faults": Check(
        "3.4: a driver and a worker killed with -9, a dead tracking store",
        pytest_file("-m", "slow", "tests/cluster/test_faults.py", seconds=1500),
    ),
    "store": Check(
        "3.5, 3.6: damage is found, on a disk and on S3",
        pytest_file("tests/training/test_files.py", "tests/training/test_checkpoint.py"),
    ),
}
