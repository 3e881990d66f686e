"""Commands from a shell as processes forked from a server that has the libraries loaded; a fresh start takes a second.

`preloaded.py SERVER -- WORDS…` is the command for the shell: it hands its streams, folder, umask and environment over,
and ends as the forked process does. It imports next to nothing, so that it starts at once.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import sys
from collections.abc import Mapping, Sequence

_MOST = 1 << 20
_END = b"\n"


def begun(
    server: str,
    words: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: str,
    fds: tuple[int, int, int],
    session: bool = False,
) -> tuple[int, socket.socket]:
    """Start the command; return its number, and where its exit code is told. In a `session` of its own, if wanted."""
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(f"\0{server}")
    order = {"words": list(words), "env": dict(env), "cwd": cwd, "umask": _umask(), "session": session}
    socket.send_fds(connection, [b"."], fds)
    connection.sendall(json.dumps(order).encode() + _END)
    return told(connection), connection


def _umask() -> int:
    os.umask(umask := os.umask(0))
    return umask


def told(connection: socket.socket) -> int:
    """Wait for the next number that is told: the process's own, then its exit code."""
    text = b""
    while not text.endswith(_END):
        text += connection.recv(1) or _END
    return int(text)


def for_shell() -> list[str]:
    """Return the words that are the command in a shell."""
    return [sys.executable, "-IS", __file__, server(), "--"]


def server() -> str:
    """Return the name of this process's server; start it, if it is not there. It ends with this process."""
    import subprocess

    if os.getpid() not in _servers:
        name = f"kuma-sync-tests-{os.getpid()}"
        process = subprocess.Popen([sys.executable, __file__, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        _servers[os.getpid()] = name, process
    return _servers[os.getpid()][0]


_servers: dict[int, tuple[str, object]] = {}


def _serve(name: str) -> None:
    """Fork until whoever started us has ended."""
    import gc
    import importlib
    import pkgutil

    import psycopg  # noqa: F401  # loaded for those that are forked
    import uvicorn  # noqa: F401

    from kuma_sync import cli

    for module in pkgutil.iter_modules(cli.__path__):
        importlib.import_module(f"kuma_sync.cli.{module.name}")
    gc.freeze()  # else each child's garbage collector looks through all of this
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(f"\0{name}")
    listener.listen()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    print("ready", flush=True)  # noqa: T201
    while sys.stdin not in select.select([listener, sys.stdin], [], [])[0]:
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            _attend(connection)
        connection.close()


def _attend(connection: socket.socket) -> None:
    """Fork the command, and tell its number and its exit code."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _, fds, _, _ = socket.recv_fds(connection, 1, 3)
    text = b""
    while not text.endswith(_END):
        text += connection.recv(_MOST)
    order = json.loads(text)
    pid = os.fork()
    if pid == 0:
        connection.close()
        _be(order, fds)
    for number in (*fds, 0, 1, 2):
        os.close(number)  # a pipe's reader waits for the end of all who hold it
    connection.sendall(b"%d\n" % pid)
    if not order["session"] and connection in select.select([connection, os.pidfd_open(pid)], [], [])[0]:
        os.kill(pid, signal.SIGKILL)  # whoever stood for it in the shell was killed
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    with contextlib.suppress(OSError):
        connection.sendall(b"%d\n" % code)
    os._exit(0)


def _be(order: dict[str, object], fds: Sequence[int]) -> None:
    """Be the command."""
    from kuma_sync import cli

    for number, given in enumerate(fds):
        os.dup2(given, number)
        os.close(given)
    os.environ.clear()
    os.environ.update(order["env"])  # type: ignore[arg-type]
    os.chdir(str(order["cwd"]))
    os.umask(int(str(order["umask"])))
    if order["session"]:
        os.setsid()
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w")  # noqa: SIM115  # for a whole life
    code = 0
    try:
        cli.main(order["words"])  # type: ignore[arg-type]
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        code = 1
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def _main() -> None:
    server, *rest = sys.argv[1:]
    if not rest:
        sys.exit(_serve(server))
    pid, connection = begun(server, rest[1:], env=os.environ, cwd=os.getcwd(), fds=(0, 1, 2))  # noqa: PTH109  # pathlib is slow to load
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda number, _frame: os.kill(pid, number))
    code = told(connection)
    sys.exit(code if code >= 0 else 128 - code)


if __name__ == "__main__":
    _main()
