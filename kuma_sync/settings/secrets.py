"""The types of secrets: every key `x` has an `x_file` beside it, and either form becomes a Secret.

Must not put a secret into an error, nor a path that may be a secret written in the wrong place.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PlainSerializer, ValidationError, ValidationInfo, WithJsonSchema
from pydantic_core import InitErrorDetails, PydanticCustomError

from kuma_sync.settings.addresses import check_proxy, check_receiver, mask_proxy
from kuma_sync.settings.secret import MASK, Secret
from kuma_sync.settings.types import GIVEN, file_of, out_of_reach, table

FILE = "_file"
_ARGON2 = re.compile(
    r"\$argon2(?:id|i|d)\$v=\d{1,3}\$m=(?P<memory>\d{1,9}),t=(?P<times>\d{1,6}),p=\d{1,4}\$[A-Za-z0-9+/]{11,}\$[A-Za-z0-9+/]{16,}"
)
_MOST_MEMORY = 128 * 1024
"""KB that one look at a password may take."""

_MOST_TIMES = 20

LONGEST_NAME = 64
"""Characters of the name of a console's user."""
Check = Callable[[str], None]


def _secret(check: Check, *, required: bool = False, local: bool = False) -> BeforeValidator:
    """Read a secret's text or its file; a `local` one is read even where remotes' secrets are not."""

    def read(value: Any, info: ValidationInfo) -> Secret:
        file = info.data.get(f"{info.field_name}{FILE}")
        secret = _one_of(value, None if file and not local and out_of_reach(file) else file, check)
        if required and not secret and GIVEN.get().remotes:
            raise PydanticCustomError("secret_missing", "is required")
        return secret

    return BeforeValidator(read)


def _one_of(text: Any, file: Any, check: Check) -> Secret:
    if isinstance(text, Secret):
        return text
    if isinstance(text, ValueError):
        raise text  # the error that its section found before
    if not isinstance(text, str):
        raise ValueError("expected text, in quotes")  # noqa: TRY004  # pydantic takes ValueErrors only
    if text and file:
        raise PydanticCustomError("given_twice", "is given twice")
    if not file:
        check(text)
        return Secret(text)
    if not isinstance(file, str | Path):
        raise PydanticCustomError("secret_path", "expected the path of a file")
    try:
        secret = _from_file(file)
        check(secret.reveal())
    except ValueError as error:
        raise PydanticCustomError("secret_file", "{error}", {"error": str(error)}) from None
    return secret


def _from_file(file: Any) -> Secret:
    path = file_of(file, secret=True)
    try:
        secret = Secret(path=path)
    except OSError as error:
        raise ValueError(f"the file cannot be read ({error.strerror}): {path}") from None
    except ValueError as error:
        raise ValueError(f"the file {error}: {path}") from None
    if not secret.reveal().strip():
        raise ValueError(f"the file is empty: {path}")
    return secret


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    """What an entry of a table of secrets must be: its kind of word, its name, its text."""

    word: str
    is_name: Callable[[str], object]
    name: str
    check: Check

    def read(self, name: str, entries: Mapping[str, Any], *, sound: bool) -> Secret:
        """Return one secret, in one of its two forms. Raise ValueError."""
        if not sound:
            raise ValueError(f"expected {self.name} for every {self.word}")
        secret = _one_of(entries.get(name, ""), entries.get(name + FILE), self.check)
        if not secret:
            raise ValueError(f"the {self.word} must not be empty")
        return secret


def _by_name(entry: _Entry) -> BeforeValidator:
    """Read secrets by name, each in one of its two forms; every problem is told with its name."""

    def read(value: Any) -> Any:
        entries = table(value)
        if not isinstance(entries, Mapping):
            return entries
        within = {key: given for key, given in entries.items() if not (key.endswith(FILE) and out_of_reach(given))}
        found: dict[str, Secret] = {}
        wrong: list[InitErrorDetails] = []
        for name in dict.fromkeys(key.removesuffix(FILE) for key in within):
            sound = bool(entry.is_name(name))
            try:
                found[name] = entry.read(name, within, sound=sound)
            except ValueError as error:
                wrong.append(_at(error, *((name,) if sound else ())))
        if wrong:
            raise ValidationError.from_exception_data("secrets", wrong)
        return found

    return BeforeValidator(read)


def _at(error: ValueError, *place: str) -> InitErrorDetails:
    """Put an error at a place below the value that is read."""
    ours = error if isinstance(error, PydanticCustomError) else None
    told = ours or PydanticCustomError("value_error", "{error}", {"error": str(error)})
    return InitErrorDetails(type=told, loc=place, input=None)


def _one_word(text: str) -> None:
    """Raise ValueError for a token that is not one word of an HTTP header: it could not be sent."""
    if not all("!" <= sign <= "~" for sign in text):
        raise ValueError(f"expected visible ASCII characters without spaces, in one line{_odd(text)}")


def _header_words(text: str) -> None:
    """Raise ValueError for a token that no header can hold; whether it may be several words, the profile says."""
    outside = text != text.strip() or not (text.isascii() and text.isprintable())
    if outside or text.lower().startswith("bearer "):
        raise ValueError(f"expected visible ASCII characters in one line{_odd(text)}")


def _one_line(text: str) -> None:
    if not text.isprintable():
        raise ValueError(f"expected one line of printable characters{_odd(text)}")


def is_user(name: str) -> bool:
    """Tell whether a text can be the name of a console's user."""
    return 0 < len(name) <= LONGEST_NAME and name.isprintable() and name == name.strip()


def _password_hash(text: str) -> None:
    """Raise ValueError for what is no hash of Argon2, or for one that would take too much memory or time."""
    found = _ARGON2.fullmatch(text)
    if found is None:
        raise ValueError("expected an argon2 hash; `kuma-sync console-user` asks for the password and prints the line")
    if int(found["memory"]) > _MOST_MEMORY or int(found["times"]) > _MOST_TIMES:
        raise ValueError(f"expected a hash of at most {_MOST_MEMORY >> 10} MB and {_MOST_TIMES} passes")


def _proxy(text: str) -> None:
    if text:
        check_proxy(text)


def _receiver(text: str) -> None:
    if text:
        check_receiver(text)


def _odd(text: str) -> str:
    """Say what is wrong with a secret without showing any of it."""
    lines = text.splitlines()
    if text.lower().startswith("bearer "):
        return "; leave out the word Bearer"
    if len(lines) > 1:
        return f"; there are {len(lines)} lines"
    if text != text.strip():
        return "; there is a space before or after it"
    if not text.isascii():
        return "; there is a character that is no ASCII"
    return "; there is a space or a control character in it"


def _masked(secret: Secret) -> str:
    return MASK if secret else ""


def _masked_by_name(secrets: Mapping[str, Secret]) -> dict[str, str]:
    return {
        f"{name}{FILE}" if secret.path else name: str(secret.path) if secret.path else _masked(secret)
        for name, secret in secrets.items()
    }


_SCHEMA = WithJsonSchema({"type": "string", "writeOnly": True})
_MASKED = PlainSerializer(_masked)

SecretFile = Annotated[
    Any, Field(repr=False), WithJsonSchema({"type": "string", "description": "a file that holds the secret"})
]
Token = Annotated[Secret, _secret(_one_word), _MASKED, _SCHEMA]
RequiredToken = Annotated[Secret, _secret(_one_word, required=True), _MASKED, _SCHEMA]
IrpToken = Annotated[Secret, _secret(_header_words), _MASKED, _SCHEMA]
Password = Annotated[Secret, _secret(_one_line), _MASKED, _SCHEMA]
StorePassword = Annotated[Secret, _secret(_one_line, local=True), _MASKED, _SCHEMA]
Proxy = Annotated[
    Secret,
    _secret(_proxy),
    PlainSerializer(lambda secret: mask_proxy(secret.reveal()) if secret else ""),
    _SCHEMA,
]
Receiver = Annotated[Secret, _secret(_receiver), _MASKED, _SCHEMA]
"""The whole address of a receiver of notifications: a path or a parameter of it is what opens the receiver's door."""
_TOKEN = _Entry(
    word="token",
    is_name=lambda name: 0 < len(name) <= 64 and name.isprintable(),
    name="a name of at most 64 printable characters",
    check=_one_word,
)
_HASH = _Entry(
    word="password",
    is_name=is_user,
    name=f"a name of at most {LONGEST_NAME} printable characters",
    check=_password_hash,
)
_NAMED = _Entry(
    word="secret",
    is_name=re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}").fullmatch,
    name="a name of letters, digits and _, which a template can write,",
    check=_one_line,
)
_Secrets = Mapping[str, Annotated[Secret, _SCHEMA]]
DoorTokens = Annotated[_Secrets, _by_name(_TOKEN), PlainSerializer(_masked_by_name)]
PasswordHashes = Annotated[_Secrets, _by_name(_HASH), PlainSerializer(_masked_by_name)]
NamedSecrets = Annotated[_Secrets, _by_name(_NAMED), PlainSerializer(_masked_by_name)]
