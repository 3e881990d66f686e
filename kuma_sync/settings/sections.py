"""The sections of the configuration, one frozen model each: every key, its type and its default as operators write it.

Must not: read files or the environment. `docs/configuration.md` says what the keys mean; a test keeps both together.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, PrivateAttr

from kuma_sync.settings.fields import (
    CloseReason,
    Duration,
    KeyPart,
    KumaUrl,
    ListenAddress,
    Lower,
    Moment,
    NonEmpty,
    OptionalFile,
    OptionalReason,
    OptionalWebUrl,
    Options,
    Percent,
    PositiveDuration,
    ProfileName,
    Rate,
    SecretText,
    Share,
    Size,
    StoreUrl,
    Table,
    WebUrl,
    Whole,
    Words,
)
from kuma_sync.settings.paths import Places, places_of
from kuma_sync.settings.secret import Secret


def _default(written: Any) -> Any:
    """Give a default as operators write it; it is read like any other value."""
    return Field(default=written)


def _no_secret() -> Any:
    return Field(default_factory=Secret)


class Section(BaseModel):
    """What all sections share: frozen, no unknown keys, and errors that never show what was given."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        frozen=True,
        extra="forbid",
        validate_default=True,
        hide_input_in_errors=True,
        arbitrary_types_allowed=True,
        str_strip_whitespace=True,
    )


class KumaSection(Section):
    """How to reach KUMA, and what to ask it for."""

    url: KumaUrl
    token: SecretText = _no_secret()
    api_version: Annotated[Literal["v1", "v2", "v2.1", "v3"], Lower] = "v1"
    instance: KeyPart = "kuma"
    web_url: OptionalWebUrl = ""
    statuses: Annotated[tuple[Literal["new", "assigned", "escalated", "closed"], ...], Field(min_length=1), Words] = (
        "new",
    )
    tenants: Annotated[tuple[NonEmpty, ...], Words] = ()
    with_affected: bool = True
    ca_file: OptionalFile = _default("")
    verify_tls: bool = True
    client_cert: OptionalFile = _default("")
    client_key: OptionalFile = _default("")
    proxy: SecretText = _no_secret()
    connect_timeout: PositiveDuration = _default("10s")
    read_timeout: PositiveDuration = _default("2m")


class PollSection(Section):
    """How often KUMA is read, how far back, and how much of an alert is passed on."""

    interval: PositiveDuration = _default("30s")
    strategy: Annotated[Literal["incremental", "full"], Lower] = "incremental"
    overlap: Duration = _default("30m")
    sweep_interval: PositiveDuration = _default("10m")
    unseen: Annotated[Literal["open", "all", "none"], Lower] = "open"
    ignore_before: Moment = _default("")
    max_events: Whole = 1000
    max_alert_size: Size = _default("32MB")


class IrpSection(Section):
    """How to reach the IRP, and how hard to press it."""

    profile: ProfileName = "security-vision"
    url: WebUrl
    token: SecretText = _no_secret()
    username: str = ""
    password: SecretText = _no_secret()
    ca_file: OptionalFile = _default("")
    verify_tls: bool = True
    client_cert: OptionalFile = _default("")
    client_key: OptionalFile = _default("")
    proxy: SecretText = _no_secret()
    connect_timeout: PositiveDuration = _default("10s")
    read_timeout: PositiveDuration = _default("30s")
    concurrency: Share = 8
    rate_limit: Rate = 0
    find_first: Annotated[Literal["auto", "always"], Lower] = "auto"
    options: Annotated[Mapping[str, JsonValue], Options] = _default({"organization": ""})


class CloseSection(Section):
    """Which closings are carried where, and how resolutions become KUMA's reasons."""

    to_kuma: bool = True
    to_irp: bool = True
    watch: bool = True
    watch_interval: PositiveDuration = _default("1m")
    default_reason: OptionalReason = _default("responded")
    reasons: Annotated[Mapping[str, CloseReason], Table] = _default({"False positive": "incorrect data"})


class RetrySection(Section):
    """How long to wait between attempts."""

    base: PositiveDuration = _default("2s")
    max: PositiveDuration = _default("10m")


class BrakeSection(Section):
    """What looks like an accident and is held for a human."""

    max_closed_percent: Percent = 30
    min_alerts: Whole = 10
    max_new: Whole = 0


class StoreSection(Section):
    """Where everything is remembered. A password inside `url` was moved into `password`."""

    url: StoreUrl = "sqlite:///kuma-sync.db"
    password: SecretText = _no_secret()
    retention: PositiveDuration = _default("90d")


class RunSection(Section):
    """The daemon as a process."""

    grace: Duration = _default("20s")


class WebSection(Section):
    """The HTTP doors."""

    listen: ListenAddress = "127.0.0.1:8484"
    metrics_token: SecretText = _no_secret()
    metrics_public: bool = False
    cert_file: OptionalFile = _default("")
    key_file: OptionalFile = _default("")
    tokens: Mapping[str, SecretText] = _default({})


class LogSection(Section):
    """What is logged, and how it looks."""

    level: Annotated[Literal["debug", "info", "warning", "error"], Lower] = "info"
    format: Annotated[Literal["auto", "console", "json"], Lower] = "auto"


class Settings(Section):
    """The whole configuration. `warnings` are sentences worth a log line at start."""

    kuma: KumaSection
    poll: PollSection
    irp: IrpSection
    close: CloseSection
    retry: RetrySection
    brake: BrakeSection
    store: StoreSection
    run: RunSection
    web: WebSection
    log: LogSection

    _warnings: tuple[str, ...] = PrivateAttr(default=())
    _places: Places = PrivateAttr(default_factory=lambda: places_of(None, {}))
    _former_store: Path | None = PrivateAttr(default=None)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Return what works but should not stay so, one sentence each."""
        return self._warnings

    @property
    def places(self) -> Places:
        """Return where the relative paths in it lead."""
        return self._places

    @property
    def former_store(self) -> Path | None:
        """Return where the store lay while relative paths were taken from the current folder, if that is elsewhere."""
        return self._former_store


SECTIONS: Mapping[str, type[Section]] = {
    name: field.annotation
    for name, field in Settings.model_fields.items()
    if isinstance(field.annotation, type) and issubclass(field.annotation, Section)
}
"""The sections by name, in the order of the contract."""


def secret_keys(section: str) -> tuple[str, ...]:
    """Return the keys of a section that hold secrets; each also comes as `<key>_file`."""
    return tuple(name for name, field in SECTIONS[section].model_fields.items() if field.annotation is Secret)
