"""What `check` found, one line each, and what an error of a remote advises."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from kuma_sync.core.errors import AccessDenied, RemoteError

_OF_CERTIFICATES = {
    "another host name": "{section}.url must have the name that is in it",
    "expired": "it must be renewed on that side",
}


class Verdict(StrEnum):
    """How a line of `check` begins."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line of `check`. `misconfigured` marks a failure that is the configuration's: exit 2."""

    verdict: Verdict
    what: str
    hint: str = ""
    misconfigured: bool = False


def ok(what: str, hint: str = "") -> Finding:
    """Say that all is well."""
    return Finding(verdict=Verdict.OK, what=what, hint=hint)


def warning(what: str, hint: str) -> Finding:
    """Say that it works, but should not stay so."""
    return Finding(verdict=Verdict.WARNING, what=what, hint=hint)


def failed(what: str, hint: str, *, misconfigured: bool = False) -> Finding:
    """Say that it does not work."""
    return Finding(verdict=Verdict.FAILED, what=what, hint=hint, misconfigured=misconfigured)


@dataclass(frozen=True, slots=True, kw_only=True)
class Remote:
    """A remote as lines name it: `name` for people, `section` of its keys, its address, and what proves it."""

    name: str
    section: str
    url: str
    verified: bool

    def reached(self) -> list[Finding]:
        """Say that it answered: address and certificate are good."""
        return [ok(f"{self.name} address", self.url), self._certificate()]

    def refused(self, error: RemoteError, what: str) -> list[Finding]:
        """Say how far a request came before it failed; `what` is what it was to prove."""
        if error.status is not None:
            return [*self.reached(), failed(f"{self.name} {what}", self._advice(error))]
        if error.summary.startswith("certificate"):
            hint = next((f"; {hint}" for words, hint in _OF_CERTIFICATES.items() if words in error.summary), "")
            told = f"{error.summary}{hint.format(section=self.section)}"
            return [ok(f"{self.name} address", self.url), failed(f"{self.name} certificate", told)]
        if error.summary.startswith("TLS"):
            hint = f"{error.summary}; does it ask for a certificate of ours ({self.section}.client_cert)?"
            return [ok(f"{self.name} address", self.url), failed(f"{self.name} certificate", hint)]
        return [failed(f"{self.name} address", f"{self.url}: {error.summary}; {self._way()}")]

    def needs_tls(self) -> list[Finding]:
        """Say that TLS is spoken where http:// was tried."""
        there = f"TLS is spoken there; write https:// in {self.section}.url"
        return [failed(f"{self.name} address", f"{self.url}: {there}")]

    def _certificate(self) -> Finding:
        what = f"{self.name} certificate"
        if not self.url.startswith("https://"):
            return ok(what, "none, the address is http://")
        if not self.verified:
            return warning(what, f"not checked ({self.section}.verify_tls = false)")
        return ok(what, "trusted")

    def _way(self) -> str:
        return f"is {self.section}.url right, is it running, does a firewall or {self.section}.proxy stand between?"

    def _advice(self, error: RemoteError) -> str:
        match error:
            case AccessDenied():
                return f"{error.summary}; is {self.section}.token right, not expired, and its user enabled and allowed?"
            case RemoteError(status=404) if "api_version" not in error.summary:
                path = "kuma.api_version" if self.section == "kuma" else "the path in the profile"
                return f"{error.summary}; is {self.section}.url right, and {path}?"
            case _:
                return error.summary
