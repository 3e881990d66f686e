"""A real Request Tracker 5 of the tests' own: Debian's package, a database and a port of its own, one custom field.

It is asked with its own REST API, and straight in its SQLite file: neither knows anything of kuma-sync.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import os
import quopri
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from addresses import an_address
from postgres import unprivileged

PACKAGES = ("request-tracker5", "rt5-db-sqlite", "rt5-standalone")
ACCOUNT = "www-data"
"""Debian's account of web servers: RT is not to run as root."""

KEY = "KUMA key"
"""The custom field that the built-in profile writes the key into."""

FIELDS = (KEY, "KUMA link", "KUMA last seen", "KUMA events", "KUMA resolution")
"""The custom fields that the built-in profile knows."""

_LIBRARIES = Path("/usr/share/request-tracker5/lib")
_SERVER = Path("/usr/share/request-tracker5/libexec/rt-server")
_SETUP = Path("/usr/sbin/rt-setup-database-5")

_CONFIGURATION = """\
Set($rtname, 'loop');
Set($Organization, 'loop');
Set($WebDomain, '{host}');
Set($WebPort, {port});
Set($WebPath, '');
Set($CanonicalizeRedirectURLs, 0);
Set($DatabaseType, 'SQLite');
Set($DatabaseName, '{folder}/rtdb');
Set($LogToSTDERR, 'warning');
Set($LogToSyslog, undef);
Set($MailCommand, 'testfile');
Set($Timezone, 'UTC');
1;
"""

_FURNISH = """\
use RT;
RT::LoadConfig();
RT::Init();

sub made { my ($id, $told) = @_; die $told unless $id; }

my $queue = RT::Queue->new(RT->SystemUser);
made($queue->Create(Name => 'SOC'));
my $bare = RT::Queue->new(RT->SystemUser);
made($bare->Create(Name => 'Bare'));
for my $name (@ARGV) {
    my $field = RT::CustomField->new(RT->SystemUser);
    made($field->Create(Name => $name, Type => 'FreeformSingle', LookupType => 'RT::Queue-RT::Ticket'));
    made($field->AddToObject($queue));
}
my $user = RT::User->new(RT->SystemUser);
made($user->Create(Name => 'kuma-sync', Lang => 'en', Timezone => 'UTC', Privileged => 1));
for my $right (@RIGHTS@) {
    made($user->PrincipalObj->GrantRight(Right => $right, Object => $queue));
}
for my $right ('SeeQueue', 'ShowTicket', 'CreateTicket') {
    made($user->PrincipalObj->GrantRight(Right => $right, Object => $bare));
}
my $token = RT::AuthToken->new(RT->SystemUser);
my ($made, $told, $text) = $token->Create(Owner => $user->id, Description => 'kuma-sync');
die $told unless $made;
print $text;
"""

RIGHTS = (
    "SeeQueue",
    "ShowTicket",
    "CreateTicket",
    "ModifyTicket",
    "CommentOnTicket",
    "SeeCustomField",
    "ModifyCustomField",
)
"""What the user of the token may do in the queue: what the built-in profile asks its administrator for."""


_DECODED = {"quoted-printable": quopri.decodestring, "base64": base64.b64decode, "none": bytes}


class Absent(Exception):
    """There is no Request Tracker, and none can be installed; says why."""


def install(lock: Path) -> None:
    """Install Debian's package where it is missing: one process at a time. Raises Absent."""
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if _SERVER.exists() and _installed():
            return
        if os.geteuid() != 0 or shutil.which("apt-get") is None:
            raise Absent(f"needs Debian's {' '.join(PACKAGES)}: only root can install them, and only where apt-get is")
        _apt_get("update")
        _apt_get("install", "-y", "--no-install-recommends", *PACKAGES)


@contextlib.contextmanager
def running() -> Iterator[Tracker]:
    """Start one with a new database, yield it, and end it."""
    with tempfile.TemporaryDirectory(prefix="kuma-rt-", dir="/tmp") as folder:
        host, port = an_address()
        tracker = Tracker(folder=Path(folder), prefix=unprivileged(Path(folder), ACCOUNT), host=host, port=port)
        tracker.furnish()
        try:
            tracker.start()
            yield tracker
        finally:
            tracker.stop()


def _installed() -> bool:
    asked = subprocess.run(
        ["dpkg-query", "-W", "-f=${Status}\\n", *PACKAGES], capture_output=True, text=True, check=False
    )
    return asked.stdout.count("install ok installed") == len(PACKAGES)


def _apt_get(*words: str) -> None:
    settings = {"DEBIAN_FRONTEND": "noninteractive", **os.environ}
    command = ["apt-get", "-qq", "-o", "DPkg::Lock::Timeout=300", *words]
    done = subprocess.run(command, env=settings, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed: {done.stderr[-1000:]}")


@dataclass(slots=True, kw_only=True)
class Tracker:
    """Request Tracker on a folder and a port of its own."""

    folder: Path
    prefix: list[str]
    host: str
    port: int
    token: str = ""
    _process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Return its address."""
        return f"http://{self.host}:{self.port}"

    def client(self) -> httpx.Client:
        """Return a client of an analyst's: RT's own administrator, as the package makes it."""
        login = ("root", "password")
        return httpx.Client(base_url=f"{self.url}/REST/2.0", auth=login, trust_env=False, verify=False, timeout=120)

    def furnish(self) -> None:
        """Make the database, the custom field and the token."""
        where = _CONFIGURATION.format(host=self.host, port=self.port, folder=self.folder)
        (self.folder / "RT_SiteConfig.pm").write_text(where)
        (self.folder / "conf.d").mkdir()
        self._run(str(_SETUP), "--action", "init", "--dba", "root", "--skip-create")
        script = self.folder / "furnish.pl"
        script.write_text(_FURNISH.replace("@RIGHTS@", repr(RIGHTS)))
        self.token = self._run("perl", f"-I{_LIBRARIES}", str(script), *FIELDS).strip()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        with (self.folder / "server.log").open("ab") as log:
            where = ["--host", self.host, "--port", str(self.port), "--max-workers", "3"]
            self._process = subprocess.Popen(
                [*self.prefix, str(_SERVER), *where],
                env=self._environment(),
                cwd="/",
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + 120
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise TimeoutError(
                    f"Request Tracker does not start: {(self.folder / 'server.log').read_text()[-2000:]}"
                )
            time.sleep(0.2)

    def stop(self) -> None:
        """Stop it, its workers too."""
        if self._process is None:
            return
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=20)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)  # a session of its own: nobody else's processes are in it
        self._process.wait()
        self._process = None

    def kept_keys(self) -> list[tuple[int, str]]:
        """Return (ticket, key) of every ticket there is, straight from the database's file."""
        return self._asked(
            """
            SELECT tickets.id, contents.Content
            FROM Tickets AS tickets
            LEFT JOIN ObjectCustomFieldValues AS contents
              ON contents.ObjectType = 'RT::Ticket' AND contents.ObjectId = tickets.id AND contents.Disabled = 0
              AND contents.CustomField = (SELECT id FROM CustomFields WHERE Name = ?)
            ORDER BY tickets.id
            """,
            KEY,
        )

    def kept(self, ticket: int) -> tuple[str, str, int]:
        """Return (subject, status, priority) of a ticket, straight from the database's file."""
        ((subject, status, priority),) = self._asked(
            "SELECT Subject, Status, Priority FROM Tickets WHERE id = ?", str(ticket)
        )
        return subject, status, priority

    def kept_texts(self, ticket: int) -> list[str]:
        """Return the texts of a ticket, its first one included, straight from the database's file."""
        rows = self._asked(
            """
            SELECT texts.Content, texts.ContentEncoding
            FROM Attachments AS texts
            JOIN Transactions AS deeds ON deeds.id = texts.TransactionId
            WHERE deeds.ObjectType = 'RT::Ticket' AND deeds.ObjectId = ? AND texts.Content IS NOT NULL
            ORDER BY texts.id
            """,
            str(ticket),
        )
        return [_DECODED[encoding](text.encode()).decode() for text, encoding in rows]

    def _asked(self, question: str, *values: str) -> list[tuple[Any, ...]]:
        with contextlib.closing(sqlite3.connect(f"file:{self.folder}/rtdb?mode=ro", uri=True, timeout=60)) as file:
            return file.execute(question, values).fetchall()

    def _answers(self) -> bool:
        try:
            with self.client() as client:
                return client.get("/rt").status_code == 200
        except httpx.TransportError:
            return False

    def _environment(self) -> dict[str, str]:
        own = {"RT_SITE_CONFIG": f"{self.folder}/RT_SiteConfig.pm", "RT_SITE_CONFIG_DIR": f"{self.folder}/conf.d"}
        return {"PATH": os.defpath + ":/usr/sbin", "LANG": "C.UTF-8", "HOME": str(self.folder), **own}

    def _run(self, *command: str) -> str:
        done = subprocess.run(
            [*self.prefix, *command], env=self._environment(), cwd="/", capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"{command[0]} failed: {done.stdout[-1000:]} {done.stderr[-1000:]}")
        return done.stdout
