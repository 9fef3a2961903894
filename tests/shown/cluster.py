"""A search on several machines."""

from shown.command import Check, pytest_file

_LAN = ("-m", "cluster", "tests/cluster/test_lan.py")

CHECKS = {
    "cluster": Check(
        "5.1: ray up, submit and down on three machines without a shared disk",
        pytest_file(*_LAN, "-k", "needs_no_shared_disk", seconds=480),
    ),
    "cluster-refusals": Check(
        "5.2: failing searches, and a client without the token",
        pytest_file(*_LAN, "-k", "error or token or doctor", seconds=900),
    ),
    "cluster-power": Check(
        "5.3: a machine powered off in the middle",
        pytest_file(*_LAN, "-k", "powered_off", seconds=1500),
    ),
    "cluster-reproduce": Check(
        "5.4: the best trial done again from the client",
        pytest_file(*_LAN, "-k", "reproduced", seconds=900),
    ),
    "cluster-files": Check(
        "5.5: the shipped files pass, planted mistakes are named, what AWS would be asked for",
        pytest_file("-m", "", "tests/doctor/test_doctor.py", "tests/cluster/test_aws.py"),
    ),
}
