"""A throw-away network of machines on one computer, for tests of the cluster launcher.

Each machine is a set of Linux namespaces: its own network address on a bridge without an uplink,
its own process ids, host name, /tmp and home, its own copy-on-write disk, its own sshd. Everything
hangs from one process that reads orders from a pipe: when the test ends, however it ends, the pipe
closes and the kernel removes processes, mounts and network.

    with Lan(folder, ["client", "head", "one"]) as lan:
        lan.run("client", "ssh head hostname")
        lan.power_off("one")
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

SYSTEM = {"bin", "boot", "etc", "lib", "lib32", "lib64", "libx32", "sbin", "usr", "var"}
NEEDED = ("unshare", "nsenter", "ip", "mount", "rsync", "ssh", "ssh-keygen")
SSHD = "/usr/sbin/sshd"
_NETWORK = "10.88.0"
_MARK = "LAN_MACHINE"
_ENVIRONMENT = {
    "HOME": "/root",
    "USER": "root",
    "LANG": "C.UTF-8",
    "TERM": "dumb",
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
}
_NAMESPACES = ("--net", "--mount", "--pid", "--fork", "--kill-child=KILL")


def missing() -> str | None:
    """Why there can be no such network here; None when there can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "needs root on Linux"
    absent = [name for name in NEEDED if shutil.which(name) is None]
    if not Path(SSHD).exists():
        absent.append("sshd")
    if absent:
        return f"needs {', '.join(absent)} (Debian: openssh-server rsync iproute2)"
    tried = subprocess.run(["unshare", "--net", "--mount", "--pid", "--fork", "true"])
    return None if tried.returncode == 0 else "this computer allows no namespaces"


def address(names: Sequence[str], name: str) -> str:
    return f"{_NETWORK}.{10 + list(names).index(name)}"


class Lan:
    """Machines by name. `profiles` are further lines of a machine's ~/.bashrc."""

    def __init__(
        self, folder: Path, names: Sequence[str], profiles: dict[str, str] | None = None
    ) -> None:
        self.folder, self.names, self.profiles = folder, tuple(names), profiles or {}
        self._init: dict[str, int] = {}
        self._root: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        for key in ("user", "host"):
            words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", f"{self.folder}/{key}"]
            subprocess.run(words, check=True)
        facts = {
            "names": self.names,
            "profiles": self.profiles,
            "base": sys.base_prefix,
            "environment": sys.prefix,
        }
        (self.folder / "facts.json").write_text(json.dumps(facts))
        here = [sys.executable, __file__]
        self._root = subprocess.Popen(
            ["unshare", *_NAMESPACES, "--mount-proc", *here, "network", str(self.folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        for name in self.names:
            self.power_on(name)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        root = self._root
        assert root is not None and root.stdin is not None
        root.stdin.close()
        try:
            root.wait(20)
        except subprocess.TimeoutExpired:
            root.kill()
            root.wait(20)

    def address(self, name: str) -> str:
        return address(self.names, name)

    def power_on(self, name: str) -> None:
        """Start a machine with a blank disk; it answers on port 22 afterwards."""
        root = self._root
        assert root is not None and root.stdin is not None and root.stdout is not None
        root.stdin.write(f"{name}\n")
        root.stdin.flush()
        answer = root.stdout.readline().strip()
        if answer != f"up {name}":
            raise RuntimeError(f"machine {name} did not start: {answer or 'no answer'}")
        self._init[name] = _find(f"{self.folder}/{name}")

    def power_off(self, name: str) -> None:
        """As if the plug was pulled: no process ends by itself, nobody is told."""
        os.kill(self._init.pop(name), signal.SIGKILL)

    def command(self, name: str, words: str) -> list[str]:
        """How to run a line of bash on a machine from here, in a login shell."""
        enter = ["nsenter", "-t", str(self._init[name]), "--mount", "--net", "--pid", "--uts"]
        variables = [f"{key}={value}" for key, value in _ENVIRONMENT.items()]
        shell = ["bash", "--login", "-c", f"cd; {words}"]
        return [*enter, "--ipc", "--root", "--wd", "env", "-i", *variables, *shell]

    def run(
        self, name: str, words: str, *, seconds: float = 120, expect: int | None = 0
    ) -> subprocess.CompletedProcess[str]:
        """Run a line of bash on a machine; an error when it exits otherwise than expected."""
        done = subprocess.run(
            self.command(name, words),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            timeout=seconds,
        )
        if expect is not None and done.returncode != expect:
            raise RuntimeError(f"{name}: `{words}` exits {done.returncode}:\n{done.stdout[-6000:]}")
        return done

    def start(self, name: str, words: str, log: Path) -> "subprocess.Popen[bytes]":
        """Start a line of bash on a machine, its output in a file of this computer."""
        with open(log, "wb") as file:
            return subprocess.Popen(
                self.command(name, words), stdout=file, stderr=file, stdin=subprocess.DEVNULL
            )

    def put(self, name: str, root: Path, files: Iterable[str], target: str) -> None:
        """Copy files below `root` to a folder of a machine."""
        pack = ["tar", "-C", str(root), "--exclude", "__pycache__", "-c", *files]
        with subprocess.Popen(pack, stdout=subprocess.PIPE) as packed:
            words = f"mkdir -p {target} && tar -C {target} --no-same-owner -x"
            subprocess.run(self.command(name, words), stdin=packed.stdout, check=True)

    def write(self, name: str, path: str, text: str) -> None:
        """Write a file on a machine."""
        words = f'mkdir -p "$(dirname {path})" && cat > {path}'
        subprocess.run(self.command(name, words), input=text, text=True, check=True)


def _find(mark: str) -> int:
    """The first process of a machine, by the mark in its environment and its own process id 1."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with suppress(OSError):
            if f"{_MARK}={mark}".encode() not in (entry / "environ").read_bytes().split(b"\0"):
                continue
            status = (entry / "status").read_text()
            row = next(line for line in status.splitlines() if line.startswith("NSpid:"))
            if row.split()[-1] == "1":
                return int(entry.name)
    raise RuntimeError(f"no process of {mark}")


def _do(*words: str) -> None:
    subprocess.run(words, check=True)


def network(folder: Path) -> None:
    """Process 1 of the network: makes the bridge, starts machines in the order asked for."""
    _do("mount", "--make-rprivate", "/")
    _do("ip", "link", "set", "lo", "up")
    _do("ip", "link", "add", "lan", "type", "bridge")
    _do("ip", "address", "add", f"{_NETWORK}.1/24", "dev", "lan")
    _do("ip", "link", "set", "lan", "up")
    here, ports = (sys.executable, __file__, "machine"), 0
    for line in sys.stdin:
        name, ports = line.strip(), ports + 1
        reading, writing = os.pipe()
        # the port's far end is named by the namespace of `unshare` itself, which it enters first
        machine = subprocess.Popen(
            ["unshare", *_NAMESPACES, "--uts", "--ipc", *here, str(folder), name, str(writing)],
            env=os.environ | {_MARK: f"{folder}/{name}"},
            pass_fds=[writing],
        )
        os.close(writing)
        mine = os.readlink("/proc/self/ns/net")
        while os.readlink(f"/proc/{machine.pid}/ns/net") == mine:
            time.sleep(0.01)
        port = f"port{ports}"
        other = ["type", "veth", "peer", "name", "eth0", "netns", str(machine.pid)]
        _do("ip", "link", "add", port, *other)
        _do("ip", "link", "set", port, "master", "lan", "up")
        with os.fdopen(reading) as ready:
            print(ready.readline().strip() or f"failed {name}", flush=True)


def machine(folder: Path, name: str, ready: int) -> None:
    """Process 1 of a machine: sets up its disk and network, runs sshd, buries orphans."""
    facts = json.loads((folder / "facts.json").read_text())
    names = facts["names"]
    socket.sethostname(name)
    _do("mount", "--make-rprivate", "/")
    root = _disk(Path("/run"), facts)
    _home(root, folder, name, facts)
    hosts = "".join(f"{address(names, other)} {other}\n" for other in names)
    (root / "etc/hosts").write_text(f"127.0.0.1 localhost\n{hosts}")
    (root / "etc/hostname").write_text(f"{name}\n")
    (root / "etc/resolv.conf").write_text("")
    for command in ("shutdown", "poweroff", "halt", "reboot", "sudo"):
        # nothing here may reach the computer's own
        with suppress(FileNotFoundError):
            (root / "usr/sbin" / command).unlink()
    while subprocess.run(["ip", "link", "show", "eth0"], capture_output=True).returncode:
        time.sleep(0.02)
    _do("ip", "link", "set", "lo", "up")
    _do("ip", "address", "add", f"{address(names, name)}/24", "dev", "eth0")
    _do("ip", "link", "set", "eth0", "up")
    _do("ip", "route", "add", "default", "via", f"{_NETWORK}.1")
    os.chroot(root)
    os.chdir("/root")
    server = subprocess.Popen([SSHD, "-D", "-f", "/etc/ssh/lan_sshd"], env=_ENVIRONMENT)
    while True:
        try:
            socket.create_connection((address(names, name), 22), timeout=1).close()
            break
        except OSError:
            time.sleep(0.02)
    os.write(ready, f"up {name}\n".encode())
    os.close(ready)
    while True:
        with suppress(ChildProcessError):
            os.wait()
        if server.poll() is not None:
            time.sleep(0.5)


def _disk(place: Path, facts: dict[str, Any]) -> Path:
    """The computer's programs, copy-on-write in memory, and nothing of its people's files."""
    _do("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", str(place))
    root = _overlay(Path("/"), place / "disk")
    for entry in sorted(root.iterdir()):
        if entry.is_dir() and not entry.is_symlink() and entry.name not in SYSTEM:
            _do("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", str(entry))
    for extra in ("tmp", "var/tmp"):
        _do("mount", "-t", "tmpfs", "-o", "mode=1777", "tmpfs", str(root / extra))
    _do("mount", "-t", "proc", "proc", str(root / "proc"))
    _do("mount", "-t", "sysfs", "-o", "ro", "sysfs", str(root / "sys"))
    for device in ("null", "zero", "full", "random", "urandom", "tty"):
        (root / "dev" / device).touch()
        _do("mount", "--bind", f"/dev/{device}", str(root / "dev" / device))
    for number, stream in enumerate(("stdin", "stdout", "stderr")):
        (root / "dev" / stream).symlink_to(f"/proc/self/fd/{number}")
    (root / "dev/fd").symlink_to("/proc/self/fd")
    for folder, kind in (("pts", "devpts"), ("shm", "tmpfs")):
        (root / "dev" / folder).mkdir()
        options = "newinstance,ptmxmode=0666,mode=620" if kind == "devpts" else "size=1500m"
        _do("mount", "-t", kind, "-o", options, kind, str(root / "dev" / folder))
    (root / "dev/ptmx").symlink_to("pts/ptmx")
    base, environment = Path(facts["base"]), Path(facts["environment"])
    if base.parts[1] not in SYSTEM:
        target = root / base.relative_to("/")
        target.mkdir(parents=True)
        _do("mount", "--bind", str(base), str(target))
        _do("mount", "-o", "remount,bind,ro", str(target))
    if environment != base and environment.parts[1] not in SYSTEM:
        mine = _overlay(environment, place / "environment")
        target = root / environment.relative_to("/")
        target.mkdir(parents=True)
        _do("mount", "--bind", str(mine), str(target))
    return root


def _overlay(lower: Path, place: Path) -> Path:
    for part in ("changes", "work", "whole"):
        (place / part).mkdir(parents=True)
    layers = f"lowerdir={lower},upperdir={place}/changes,workdir={place}/work"
    _do("mount", "-t", "overlay", "overlay", "-o", layers, str(place / "whole"))
    return place / "whole"


def _home(root: Path, folder: Path, name: str, facts: dict[str, Any]) -> None:
    """An empty home with the project's environment, and who may come in by SSH."""
    home = root / "root"
    (home / ".ssh").mkdir(mode=0o700)
    home.chmod(0o700)
    shutil.copy(folder / "user.pub", home / ".ssh/authorized_keys")
    if name == facts["names"][0]:
        shutil.copy(folder / "user", home / ".ssh/id_ed25519")
    (home / ".bashrc").write_text(facts["profiles"].get(name, "") + "\n")
    (home / ".profile").write_text(". ~/.bashrc\n")
    environment = home / "ganforge/.venv"
    environment.parent.mkdir()
    environment.symlink_to(facts["environment"])
    shutil.copy(folder / "host", root / "etc/ssh/lan_key")
    (root / "run/sshd").mkdir(parents=True, exist_ok=True)
    (root / "etc/ssh/lan_sshd").write_text(
        "HostKey /etc/ssh/lan_key\nPermitRootLogin prohibit-password\nUsePAM no\nPidFile none\n"
        "PasswordAuthentication no\nMaxStartups 100\nMaxSessions 100\n"
        "Subsystem sftp internal-sftp\n"
    )


if __name__ == "__main__":
    if sys.argv[1] == "network":
        network(Path(sys.argv[2]))
    else:
        machine(Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
