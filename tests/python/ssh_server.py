"""An SSH server of the tests' own on loopback, and the machines that are reached through it.

The server's sessions have their home, their temporary files and their programs in a directory of the test, so that
neither the user's files nor other programs have a part in it.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from conftest import PATIENCE, eventually
from plumbum import SshMachine

# It starts itself again for each connection, and wants its absolute path for that.
SSHD = shutil.which("sshd", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")

PYTHON = f"python{sys.version_info[0]}.{sys.version_info[1]}"


class Sshd:
    """An SSH server. `home` and `temp` are the sessions' directories, `bin` comes first in their PATH."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home, self.temp, self.bin = (folder / name for name in ("home", "temp", "bin"))
        for directory in (self.home, self.temp, self.bin):
            directory.mkdir()
        self.program(PYTHON, f'exec "{sys.executable}" "$@"')
        for key in ("host_key", "user_key"):
            self._run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / key))
        self.port = free_port()
        self.client_config = self._write_client_config()
        self._log = folder / "log"
        _make_privilege_separation_folder()
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [str(SSHD), "-D", "-e", "-f", str(self._write_server_config())],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )

    def __enter__(self) -> Sshd:
        try:
            eventually(lambda: "Server listening" in self.log() or self._process.poll() is not None)
            assert self._process.poll() is None, f"sshd did not start:\n{self.log()}"
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(PATIENCE)

    def log(self) -> str:
        """What it has written so far."""
        return self._log.read_text(errors="replace")

    def program(self, name: str, text: str) -> Path:
        """Make a program of the sessions, from the text of a shell script."""
        path = self.bin / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        return path

    def sessions(self) -> list[int]:
        """The processes that serve its clients."""
        return _children(self._process.pid)

    def _write_server_config(self) -> Path:
        path = self.folder / "sshd_config"
        # No start-up file of the user's shell is read: there is none in this home.
        environment = f"HOME={self.home} TMPDIR={self.temp} PATH={self.bin}:/usr/bin:/bin"
        # Both ends must agree about this one.
        environment += f" RPYC_BIND_THREADS={os.environ.get('RPYC_BIND_THREADS', 'false')}"
        lines = {
            "Port": self.port,
            "ListenAddress": "127.0.0.1",
            "HostKey": self.folder / "host_key",
            "AuthorizedKeysFile": self.folder / "user_key.pub",
            "PidFile": "none",
            "UsePAM": "no",
            "StrictModes": "no",
            "PubkeyAuthentication": "yes",
            "PasswordAuthentication": "no",
            "KbdInteractiveAuthentication": "no",
            "PermitRootLogin": "yes",
            "AllowTcpForwarding": "yes",
            "UseDNS": "no",
            # A session ends when its connection breaks, even without a word.
            "ClientAliveInterval": 5,
            "Subsystem": "sftp internal-sftp",
            "SetEnv": environment,
        }
        path.write_text("".join(f"{name} {value}\n" for name, value in lines.items()))
        return path

    def _write_client_config(self) -> Path:
        known_hosts, path = self.folder / "known_hosts", self.folder / "ssh_config"
        known_hosts.write_text(f"[127.0.0.1]:{self.port} {(self.folder / 'host_key.pub').read_text()}")
        lines = {
            "HostName": "127.0.0.1",
            "Port": self.port,
            "User": pwd.getpwuid(os.getuid()).pw_name,
            "IdentityFile": self.folder / "user_key",
            "IdentitiesOnly": "yes",
            "UserKnownHostsFile": known_hosts,
            "GlobalKnownHostsFile": "/dev/null",
            "StrictHostKeyChecking": "yes",
            # The quickest to agree on; each program and each tunnel is a connection.
            "KexAlgorithms": "curve25519-sha256",
            "BatchMode": "yes",
            "ConnectTimeout": int(PATIENCE),
            "ExitOnForwardFailure": "yes",
            "LogLevel": "ERROR",
        }
        path.write_text("Host far\n" + "".join(f"  {name} {value}\n" for name, value in lines.items()))
        return path

    def _run(self, *args: str) -> None:
        subprocess.run(args, check=True, stdin=subprocess.DEVNULL, timeout=PATIENCE)


class Machine(SshMachine):
    """A machine behind `Sshd` that knows its processes: its session, servers, tunnels."""

    def __init__(self, sshd: Sshd) -> None:
        self.processes: list[Any] = []
        options = ("-F", str(sshd.client_config))
        super().__init__("far", ssh_opts=options, scp_opts=options)

    def popen(self, *args: Any, **options: Any) -> Any:
        process = super().popen(*args, **options)
        self.processes.append(process)
        return process

    def running(self) -> list[Any]:
        """Those of the processes whose end nobody has waited for."""
        return [process.args for process in self.processes if process.returncode is None]


class Far:
    """The other side, for one test: the server, and the machines that are reached through it."""

    def __init__(self, sshd: Sshd) -> None:
        self.sshd = sshd
        self.machines: list[Machine] = []

    def machine(self) -> Machine:
        """One more machine; it is closed after the test."""
        self.machines.append(Machine(self.sshd))
        return self.machines[-1]

    def close(self) -> None:
        for machine in self.machines:
            machine.close()
            for process in machine.processes:
                process.wait(PATIENCE)
                for pipe in (process.stdin, process.stdout, process.stderr):
                    # What was meant for a process that is gone can't be written any more.
                    with contextlib.suppress(BrokenPipeError):
                        pipe.close()

    def nothing_left(self) -> bool:
        """Whether all sessions have ended, with every program in them, and removed their files."""
        return not (self.sshd.sessions() or self.programs() or os.listdir(self.sshd.temp))

    def programs(self) -> list[int]:
        """The processes of this machine with a directory of the sessions in their command line."""
        return [pid for pid in _processes() if str(self.sshd.temp).encode() in _read(f"/proc/{pid}/cmdline")]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _make_privilege_separation_folder() -> None:
    """Root's sshd wants it; Debian's service makes it. It stays: another sshd may have come to use it."""
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)


def _processes() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _children(parent: int) -> list[int]:
    # The fields after the name, which is in parentheses: state, parent, ...
    return [
        pid for pid in _processes()
        if (stat := _read(f"/proc/{pid}/stat")) and int(stat.rpartition(b")")[2].split()[1]) == parent
    ]


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError:
        # It ended in the meantime.
        return b""
