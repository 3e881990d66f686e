"""A certificate authority of the simulators' own, and server certificates with the usual defects. Only files."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from kuma_sync.sim.errors import SimError
from kuma_sync.sim.values import utc_now


@dataclass(frozen=True, slots=True, kw_only=True)
class SimTls:
    """Name the files of one certificate: `ca_file` for the client, `cert_file` (key and chain) for the server."""

    ca_file: Path
    cert_file: Path

    @classmethod
    def make(
        cls,
        directory: str | Path,
        names: tuple[str, ...] = ("localhost", "127.0.0.1"),
        *,
        wrong_name: bool = False,
        expired: bool = False,
    ) -> SimTls:
        """Write a new CA and a certificate for `names` into `directory`; SimError where it cannot.

        That is where trustme is not installed, or the files cannot be written.
        """
        try:
            import trustme  # noqa: PLC0415  # an optional package: only `--tls` needs it
        except ImportError as error:
            raise SimError(
                "TLS for the simulators needs trustme: `pip install trustme`, where kuma-sync is installed"
            ) from error
        authority = trustme.CA()
        end = utc_now() - timedelta(days=1) if expired else utc_now() + timedelta(days=30)
        identities = ("elsewhere.invalid",) if wrong_name else names
        leaf = authority.issue_cert(*identities, not_before=end - timedelta(days=60), not_after=end)
        folder = Path(directory)
        tls = cls(ca_file=folder / "ca.pem", cert_file=folder / "server.pem")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            authority.cert_pem.write_to_path(str(tls.ca_file))
            tls.cert_file.touch(mode=0o600)
            leaf.private_key_and_cert_chain_pem.write_to_path(str(tls.cert_file))
        except OSError as error:
            raise SimError(f"the certificate cannot be written into {folder}: {error.strerror}") from error
        return tls
