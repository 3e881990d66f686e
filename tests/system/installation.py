"""An installation inside a machine: two simulators on its loopback, a configuration, tokens, and the service."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count

from debian import Machine

CONFIG = """\
[kuma]
url = "http://127.0.0.1:{kuma}"
token_file = "${{CREDENTIALS_DIRECTORY}}/kuma-token"
[irp]
url = "http://127.0.0.1:{irp}"
token_file = "${{CREDENTIALS_DIRECTORY}}/irp-token"
read_timeout = "3s"
[poll]
interval = "1s"
sweep_interval = "2s"
[retry]
base = "500ms"
max = "2s"
[web]
listen = "127.0.0.1:{door}"
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """One service and its two sides; `name` is empty for the plain unit. Its ports begin at `port`."""

    machine: Machine
    name: str = ""
    port: int = 20000
    number: int = field(default_factory=count().__next__)
    """In the names of its sides' units: systemd may know a unit for a while after it ended."""

    @property
    def unit(self) -> str:
        """The unit's name."""
        return f"kuma-sync@{self.name}.service" if self.name else "kuma-sync.service"

    @property
    def config(self) -> str:
        """The path of the configuration."""
        return f"/etc/kuma-sync/{self.name or 'config'}.toml"

    def prepared(self) -> None:
        """Start both sides, and do what an administrator does before the first start."""
        for side, options in (("kuma", "--alerts 3"), ("irp", "")):
            listen = f"--listen 127.0.0.1:{self._ports()[side]} --token {self._token(side)}"
            run = f"systemd-run --quiet --collect --unit={self._side(side)} /usr/bin/kuma-sync"
            self.machine.does(f"{run} sim {side} {listen} {options}")
            self.machine.until(f"ss -Hltn 'sport = :{self._ports()[side]}'", bool)
            secrets = f"/etc/kuma-sync/{self.name}"
            kept = f"install -d {secrets}; umask 077; cat > {secrets}/{side}-token"
            self.machine.does(kept, text=self._token(side))
        self.configured(CONFIG.format(**self._ports()))

    def configured(self, text: str) -> None:
        """Write the configuration."""
        self.machine.does(f"cat > {self.config}", text=text)

    def edited(self, pattern: str, replacement: str) -> None:
        """Change the configuration."""
        self.configured(re.sub(pattern, replacement, self.machine.does(f"cat {self.config}")))

    def started(self) -> None:
        """Start the service and wait until every alert has its incident."""
        self.machine.does(f"systemctl start {self.unit}")
        self.agrees()

    def raises(self, alerts: int) -> None:
        """Let KUMA show new alerts."""
        for _ in range(alerts):
            self.machine.asks(self._url("kuma", "act"), self._token("kuma"), {"do": "raise_alert"})

    def agrees(self) -> None:
        """Wait until every alert has one incident; none may ever have two."""
        end = time.monotonic() + 90
        while not self._same():
            assert time.monotonic() < end, f"one side has what the other has not\n{self.journal()[-4000:]}"
            time.sleep(0.2)

    def _same(self) -> bool:
        kuma = self.machine.asks(self._url("kuma", "state"), self._token("kuma"))
        irp = self.machine.asks(self._url("irp", "state"), self._token("irp"))
        assert irp["doubled"] == []
        return sum(kuma["alerts"].values()) == sum(irp["incidents"].values())

    def status_text(self, told: Callable[[str], bool]) -> str:
        """Wait for what the service tells systemd about itself."""
        return self.machine.until_unit(self.unit, "StatusText", told)

    def journal(self) -> str:
        """What the unit logged since it was last started anew by a test."""
        return self.machine.does(f"journalctl --no-pager -o cat -u {self.unit}")

    def side(self, side: str, verb: str) -> None:
        """Freeze or thaw a side: it answers nothing meanwhile, and forgets nothing."""
        self.machine.does(f"systemctl kill -s {verb} {self._side(side)}")

    def removed(self) -> None:
        """Stop everything, and forget store and configuration."""
        units = " ".join([self.unit, self._side("kuma"), self._side("irp")])
        self.machine.run(f"systemctl kill -s CONT {units}; systemctl stop {units}; systemctl reset-failed {units}")
        self.machine.run(f"rm -rf /etc/systemd/system/{self.unit}.d; systemctl daemon-reload")
        self.machine.run(
            "find /var/lib/kuma-sync -mindepth 1 -delete; journalctl --rotate; journalctl --vacuum-time=1s"
        )

    def _side(self, side: str) -> str:
        return f"sim-{side}-{self.number}"

    def _token(self, side: str) -> str:
        return f"a-token-of-{side}-{self.name or 'plain'}"

    def _ports(self) -> dict[str, int]:
        return {"kuma": self.port, "irp": self.port + 1, "door": self.port + 2}

    def _url(self, side: str, what: str) -> str:
        return f"http://127.0.0.1:{self._ports()[side]}/_sim/{what}"
