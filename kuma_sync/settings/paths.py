"""The files that a configuration names: where their paths lead, which may be read, and what is odd about them."""

from __future__ import annotations

import os
import stat
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SYSTEM_WIDE = Path("/etc/kuma-sync/config.toml")
SYSTEM_STATE = Path("/var/lib/kuma-sync")
STATE_DIRECTORY = "STATE_DIRECTORY"
CREDENTIALS = "CREDENTIALS_DIRECTORY"
_PROFILES = Path(__file__).parents[1] / "irp" / "profiles"
_LONGEST_TOLD = 300
_ROOT_AND_NAME = 2
_CERTIFICATE = "CERTIFICATE-----"
_KEY = "PRIVATE KEY-----"
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """The folders that relative paths of one configuration are taken from, in whatever folder a command is called.

    The store lies in `state`. A file that is only read is looked for there, then in `beside`, the configuration's own
    folder. `env` has systemd's credentials directory.
    """

    state: Path
    beside: Path
    env: Mapping[str, str] = field(default_factory=dict, repr=False)

    def written(self, path: str) -> Path:
        """Return where a file of ours lies."""
        return self.state / path

    def read(self, path: str) -> tuple[Path, ...]:
        """Return the places of an operator's file, in the order of search: one place for an absolute path."""
        return tuple(dict.fromkeys((self.state / path, self.beside / path)))


def places_of(path: Path | None, env: Mapping[str, str], *, system_state: Path = SYSTEM_STATE) -> Places:
    """Return the places of the configuration at `path`: systemd's state directory, else ours, else its own folder.

    Ours has a folder for each installation of the template unit. Without a file, paths from the environment are taken
    from the current folder.
    """
    beside = Path(os.path.abspath(path)).parent if path else here()  # noqa: PTH100  # ".." must go, links must stay
    state = Path(env.get(STATE_DIRECTORY, "").partition(":")[0])
    if not state.is_absolute():
        state = beside
        if path and beside.is_relative_to(SYSTEM_WIDE.parent):
            own = system_state / path.stem
            state = own if beside == SYSTEM_WIDE.parent and path.suffix and may_exist(own) else system_state
    return Places(state=state, beside=beside, env=env)


def here() -> Path:
    """Return the current folder; the root if it was removed meanwhile."""
    try:
        return Path.cwd()
    except OSError:
        return Path("/")


def expand(text: str, env: Mapping[str, str]) -> str:
    """Put systemd's credentials directory in for `${CREDENTIALS_DIRECTORY}`."""
    place = "${" + CREDENTIALS + "}"
    if place not in text:
        return text
    if not env.get(CREDENTIALS):
        raise ValueError(
            f"{place} is not set: systemd sets it where the unit has LoadCredential=; for a command set it to the"
            " folder with the secrets"
        )
    return text.replace(place, env[CREDENTIALS])


def readable_file(text: Any, places: Places, *, secret: bool = False) -> Path:
    """Return the path of a readable file; a ValueError names it.

    An operator may have written a `secret` itself where its path belongs, so the error shows it only if it is surely a
    path.
    """
    if not isinstance(text, str | Path) or "\x00" in str(text):
        raise ValueError("expected the path of a file")
    wanted = expand(str(text), places.env)
    tried = places.read(wanted)
    for path in tried:
        try:
            mode = path.stat().st_mode
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            told = "" if secret and not _is_a_path(wanted, tried) else f": {_short(path)}"
            raise ValueError(f"the file cannot be read ({error.strerror}){told}") from None
        if not stat.S_ISREG(mode):
            raise ValueError(f"is {'a directory' if stat.S_ISDIR(mode) else 'no plain file'}, expected a file: {path}")
        if not os.access(path, os.R_OK):
            raise ValueError(f"the file cannot be read by this user (uid {os.getuid()}): {path}")
        return path
    if secret and not _is_a_path(wanted, tried):
        folders = [str(path.parent) for path in tried if "/" not in wanted]
        raise ValueError(f"there is no such file{' in ' if folders else ''}{' or '.join(folders)}")
    raise ValueError(f"there is no such file: {' or '.join(map(_short, tried))}")


def profile_path(text: str, places: Places) -> str:
    """Return a built-in profile's name as it is, and the path of a profile's file as an absolute one."""
    if "\x00" in text or is_built_in(text):
        return text
    tried = places.read(text)
    found = next((path for path in tried if may_exist(path)), None)
    named = "/" in text or text.endswith(".toml")
    return str(found or tried[-1]) if found or named else text


def is_built_in(profile: str) -> bool:
    """Tell whether a profile comes with the program."""
    return "/" not in profile and built_in_profile(profile).is_file()


def built_in_profile(name: str) -> Path:
    """Return where a built-in profile lies, if there is one of this name."""
    return _PROFILES / f"{name}.toml"


def may_exist(path: Path) -> bool:
    """Tell whether there is a file; true also where this user may not look."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


def _is_a_path(text: str, tried: tuple[Path, ...]) -> bool:
    """Tell whether a text is surely a path, and not a secret that was written there by mistake."""
    if "/" not in text:
        return False
    if text.startswith("/"):
        return len(Path(text).parts) > _ROOT_AND_NAME and Path(*Path(text).parts[:_ROOT_AND_NAME]).exists()
    return any(path.parent.is_dir() for path in tried)


def _short(path: Path) -> str:
    return str(path) if len(str(path)) <= _LONGEST_TOLD else f"a name of {len(str(path))} characters"


def decoded(raw: bytes) -> str:
    """Return text without its byte order mark; raise ValueError, saying which encoding it has instead of UTF-8."""
    if raw.startswith((BOM_UTF16_LE, BOM_UTF16_BE)) or b"\0" in raw[:4]:
        raise ValueError("is UTF-16 text, as some editors on Windows write it; save it as UTF-8")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ValueError(f"is not UTF-8 text (line {line}); save it as UTF-8") from None


def read_text(path: Path) -> str:
    """Read a file as `decoded` does; raise OSError, or ValueError."""
    return decoded(path.read_bytes()).replace("\r\n", "\n")


def no_certificate(path: Path) -> str:
    """Say why a file holds no usable certificate, and name it."""
    return f"{path}: {_odd(path) or _without(path, _CERTIFICATE, 'certificate') or 'its certificate is damaged'}"


def no_pair(cert_file: Path, key_file: Path | None) -> str:
    """Say why a certificate and its key cannot be used together, and name the file at fault."""
    key = key_file or cert_file
    if odd := _odd(cert_file) or _without(cert_file, _CERTIFICATE, "certificate"):
        return f"{cert_file}: {odd}"
    if odd := _odd(key) or _without(key, _KEY, "key") or _locked(key):
        return f"{key}: {odd}"
    return f"{key}: the key does not fit the certificate, or one of them is damaged"


def _odd(path: Path) -> str:
    try:
        raw = path.read_bytes()
    except OSError as error:
        return f"the file cannot be read ({str(error.strerror).lower()})"
    if not raw.strip():
        return "the file is empty"
    if raw.startswith(b"\x30"):
        return (
            "the file is binary (DER or PKCS#12), expected PEM; `openssl x509 -inform der` or `openssl pkcs12` turns it"
        )
    if raw.startswith(_BOM):
        return "the file begins with a byte order mark; save it without"
    try:
        decoded(raw)
    except ValueError as error:
        return f"the file {error}"
    return ""


def _without(path: Path, mark: str, name: str) -> str:
    return "" if mark in decoded(path.read_bytes()) else f"there is no {name} in PEM form in it"


def _locked(path: Path) -> str:
    text = decoded(path.read_bytes())
    return "the key is encrypted; take its passphrase away" if "ENCRYPTED" in text else ""
