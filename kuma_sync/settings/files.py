"""Text and certificates as files: decoded, and judged."""

from __future__ import annotations

from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from pathlib import Path


def decoded(raw: bytes) -> str:
    """Return text without its byte order mark; ValueError says in a few words what it is instead of UTF-8."""
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


_CERTIFICATE = "CERTIFICATE-----"
_KEY = "PRIVATE KEY-----"
_BOM = b"\xef\xbb\xbf"


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
