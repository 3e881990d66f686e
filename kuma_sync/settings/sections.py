"""The sections of the configuration, one frozen model each: every key, its type and its default as operators write it.

`docs/configuration.md` says what the keys mean; a test keeps both together.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, PrivateAttr, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, SettingsConfigDict

from kuma_sync.core.plan import Brake
from kuma_sync.core.routing import IRP
from kuma_sync.core.sentence import Sentence
from kuma_sync.settings import secrets as hidden
from kuma_sync.settings import types
from kuma_sync.settings.addresses import take_password
from kuma_sync.settings.console import ConsoleSection
from kuma_sync.settings.passthrough import Allowed
from kuma_sync.settings.paths import Places, places_of
from kuma_sync.settings.privacy import PrivacySection
from kuma_sync.settings.secret import Secret
from kuma_sync.settings.secrets import FILE
from kuma_sync.settings.section import Section, written
from kuma_sync.settings.targets import IrpUrl, NameExpression, RouteTarget, TargetName, mode_of

PREFIX = "kuma_sync_"
_TWICE = "is given twice, here and inside store.url; keep one"


def _section() -> Any:
    return Field(default_factory=dict)


class KumaSection(Section):
    """How to reach KUMA, and which alerts to read."""

    url: types.KumaUrl
    token_file: hidden.SecretFile = ""
    token: hidden.RequiredToken = written("")
    api_version: Annotated[Literal["v1", "v2", "v2.1", "v3"], types.Lower] = "v1"
    instance: types.KeyPart = "kuma"
    web_url: types.OptionalWebUrl = ""
    statuses: Annotated[
        tuple[Literal["new", "assigned", "escalated", "closed"], ...], Field(min_length=1), types.Words
    ] = ("new",)
    tenants: Annotated[tuple[types.NonEmpty, ...], types.Words] = ()
    with_affected: bool = True
    ca_file: types.OptionalFile = written("")
    verify_tls: bool = True
    client_cert: types.OptionalFile = written("")
    client_key: types.ClientKey = written("")
    proxy_file: hidden.SecretFile = ""
    proxy: hidden.Proxy = written("")
    connect_timeout: types.PositiveDuration = written("10s")
    read_timeout: types.PositiveDuration = written("2m")
    write_back: bool = False

    @property
    def writes_back(self) -> bool:
        """Tell whether alerts are given comments: only v3 can."""
        return self.write_back and self.api_version == "v3"


class PollSection(Section):
    """How often KUMA is read, how far back, and how much of an alert is passed on."""

    interval: types.PositiveDuration = written("30s")
    strategy: Annotated[Literal["incremental", "full"], types.Lower] = "incremental"
    overlap: types.Duration = written("30m")
    sweep_interval: types.PositiveDuration = written("10m")
    unseen: Annotated[Literal["open", "all", "none"], types.Lower] = "open"
    ignore_before: types.Moment = written("")
    max_events: types.Whole = 1000
    max_alert_size: types.Size = written("32MB")


class IrpSection(Section):
    """How to reach one IRP, or how it polls us, and how hard to press it: [irp], and every table below [targets]."""

    profile: types.ProfileName = "security-vision"
    url: IrpUrl = ""
    token_file: hidden.SecretFile = ""
    token: hidden.IrpToken = written("")
    username: str = ""
    password_file: hidden.SecretFile = ""
    password: hidden.Password = written("")
    ca_file: types.OptionalFile = written("")
    verify_tls: bool = True
    client_cert: types.OptionalFile = written("")
    client_key: types.ClientKey = written("")
    proxy_file: hidden.SecretFile = ""
    proxy: hidden.Proxy = written("")
    connect_timeout: types.PositiveDuration = written("10s")
    read_timeout: types.PositiveDuration = written("30s")
    concurrency: types.Share = 8
    rate_limit: types.Rate = 0
    find_first: Annotated[Literal["auto", "always"], types.Lower] = "auto"
    repeat_for: types.Duration = written("15m")
    expect_every: types.OptionalDuration = written("10m")
    options: types.Options = written({"organization": ""})
    secrets: hidden.NamedSecrets = written({})

    @field_validator("token")
    @classmethod
    def _shown_at_our_door(cls, value: Secret, info: ValidationInfo) -> Secret:
        if "profile" not in info.data or mode_of(info.data["profile"]) != "pull":
            return value
        if not value and types.GIVEN.get().remotes:
            raise PydanticCustomError("pull_token_missing", "is required")
        if not all("!" <= sign <= "~" for sign in value.reveal()):
            raise ValueError("expected visible ASCII characters without spaces: the IRP shows it at our door")
        return value

    @cached_property
    def pulls(self) -> bool:
        """Tell whether its profile says that the IRP polls us, and is sent nothing; its file is read once."""
        return mode_of(self.profile) == "pull"


class RouteSection(Section):
    """One [[route]]: alerts that fit every key go to its target; a key left out, or empty, fits all."""

    tenants: Annotated[tuple[types.NonEmpty, ...], types.Words] = ()
    priorities: Annotated[
        tuple[Annotated[Literal["low", "medium", "high", "critical"], types.Lower], ...], types.Words
    ] = ()
    names: tuple[NameExpression, ...] = ()
    target: RouteTarget


class CloseSection(Section):
    """The directions of closings, and KUMA's reasons for the IRP's resolutions."""

    to_kuma: bool = True
    to_irp: bool = True
    watch: bool = True
    watch_interval: types.PositiveDuration = written("1m")
    default_reason: types.OptionalReason = written("responded")
    reasons: Annotated[Mapping[str, types.CloseReason], types.Table] = written({"False positive": "incorrect data"})


class RetrySection(Section):
    """How long to wait between attempts."""

    base: types.PositiveDuration = written("2s")
    max: types.PositiveDuration = written("10m")

    @field_validator("max")
    @classmethod
    def _no_shorter(cls, value: timedelta, info: ValidationInfo) -> timedelta:
        if value < info.data.get("base", value) and types.GIVEN.get().remotes:
            raise ValueError("must not be shorter than retry.base")
        return value


class BrakeSection(Section):
    """The brake's limits: more creates or closings than this look like an accident and wait for a human."""

    max_closed_percent: types.Percent = 30
    min_alerts: types.Whole = 10
    max_new: types.Whole = 0

    @property
    def brake(self) -> Brake:
        """Return the brake that obeys them."""
        return Brake(max_closed_percent=self.max_closed_percent, min_alerts=self.min_alerts, max_new=self.max_new)


class StoreSection(Section):
    """The database. A password inside `url` is moved into `password`."""

    url: types.StoreUrl = "sqlite:///kuma-sync.db"
    password_file: hidden.SecretFile = ""
    password: hidden.StorePassword = written("")
    retention: types.PositiveDuration = written("90d")

    @model_validator(mode="before")
    @classmethod
    def _password_aside(cls, given: Any) -> Any:
        url = given.get("url") if isinstance(given, dict) else None
        if not isinstance(url, str) or not url.strip().startswith("postgresql://"):
            return given
        bare, password = take_password(url.strip())
        if not password:
            return {**given, "url": bare}
        twice = given.get("password") or given.get(f"password{FILE}")
        return {**given, "url": bare, "password": ValueError(_TWICE) if twice else password}


class RunSection(Section):
    """The daemon as a process."""

    grace: types.Duration = written("20s")


class PassthroughSection(Section):
    """Calls of KUMA's that our callers may make through the door."""

    allow: Annotated[tuple[Allowed, ...], types.Words] = ()


class WebSection(Section):
    """The HTTP doors."""

    listen: types.ListenAddress = "127.0.0.1:8484"
    metrics_token_file: hidden.SecretFile = ""
    metrics_token: hidden.Token = written("")
    metrics_public: bool = False
    cert_file: types.OptionalFile = written("")
    key_file: types.DoorKey = written("")
    tokens: hidden.DoorTokens = written({})
    passthrough: PassthroughSection = written({"allow": []})
    console: ConsoleSection = written({})


class NotifySection(Section):
    """Who is told that all goes well, and who that something needs a human."""

    heartbeat_url_file: hidden.SecretFile = ""
    heartbeat_url: hidden.Receiver = written("")
    webhook_url_file: hidden.SecretFile = ""
    webhook_url: hidden.Receiver = written("")


class LogSection(Section):
    """The log's level and form."""

    level: Annotated[Literal["debug", "info", "warning", "error"], types.Lower] = "info"
    format: Annotated[Literal["auto", "console", "json", "ecs"], types.Lower] = "auto"


class Settings(BaseSettings):
    """The whole configuration. `warnings` are sentences worth a log line at start."""

    model_config: ClassVar[SettingsConfigDict] = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        case_sensitive=True,
        enable_decoding=False,
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        env_nested_max_split=2,
    )

    kuma: KumaSection = _section()
    poll: PollSection = _section()
    irp: IrpSection = _section()
    targets: Mapping[TargetName, IrpSection] = _section()
    route: tuple[RouteSection, ...] = ()
    close: CloseSection = _section()
    retry: RetrySection = _section()
    brake: BrakeSection = _section()
    store: StoreSection = _section()
    run: RunSection = _section()
    web: WebSection = _section()
    notify: NotifySection = _section()
    log: LogSection = _section()
    privacy: PrivacySection = _section()

    _warnings: tuple[Sentence, ...] = PrivateAttr(default=())
    _places: Places = PrivateAttr(default_factory=lambda: places_of(None, {}))
    _former_store: Path | None = PrivateAttr(default=None)
    _plain: bool = PrivateAttr(default=True)
    _broken: Mapping[str, str] = PrivateAttr(default_factory=dict)
    _file: Path | None = PrivateAttr(default=None)
    _origins: Mapping[str, str] = PrivateAttr(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _merged(cls, tree: dict[str, Any]) -> dict[str, Any]:
        given = types.GIVEN.get()
        if given.places:
            given.tree.update(tree)
        if IRP not in tree and tree.get("targets"):
            tree = {**tree, IRP: _no_irp()}
        for name, section in given.instead.items():
            tree = {**tree, **_replaced(tree, name, section)}
        return tree

    @property
    def warnings(self) -> tuple[Sentence, ...]:
        """Return the warnings, a sentence each."""
        return self._warnings

    @property
    def places(self) -> Places:
        """Return where the relative paths in it lead."""
        return self._places

    @property
    def file(self) -> Path | None:
        """Return the file it was read from; None where the environment alone gives it."""
        return self._file

    @property
    def origins(self) -> Mapping[str, str]:
        """Return where keys come from, by dotted key: the variable's name, or "" for the file; others are defaults."""
        return self._origins

    @property
    def former_store(self) -> Path | None:
        """Return the store's path by the old rule (relative to the current folder), if that differs."""
        return self._former_store

    @property
    def has_plain(self) -> bool:
        """Tell whether [irp] is there; where it is not, `irp` has defaults and no address."""
        return self._plain

    @property
    def irps(self) -> Mapping[str, IrpSection]:
        """Return the IRPs to connect to: "irp" first if [irp] is there, then the targets in their order."""
        return {name: section for name, section in self.named.items() if name not in self._broken}

    @property
    def named(self) -> Mapping[str, IrpSection]:
        """Return all IRPs that are configured, the broken ones too, in the order of `irps`."""
        return {IRP: self.irp, **self.targets} if self.has_plain else self.targets

    @property
    def broken(self) -> Mapping[str, str]:
        """Return the targets that cannot be used, with a sentence why: a file of theirs cannot be read, or is empty.

        They are among `targets` (or `irp`) without that file, and not among `irps`.
        """
        return self._broken

    @property
    def several(self) -> bool:
        """Tell whether more than one IRP is configured, the broken ones included."""
        return len(self.named) > 1


def _no_irp() -> IrpSection:
    """Return what stands for [irp] where only targets are configured: defaults, and no address."""
    return IrpSection.model_validate({"url": "https://nowhere.invalid"}).model_copy(update={"url": ""})


def _replaced(tree: dict[str, Any], name: str, section: IrpSection) -> dict[str, Any]:
    return {IRP: section} if name == IRP else {"targets": {**tree["targets"], name: section}}


SECTIONS: Mapping[str, type[Section]] = {
    name: field.annotation
    for name, field in Settings.model_fields.items()
    if isinstance(field.annotation, type) and issubclass(field.annotation, Section)
}
"""The sections by name, in the order of the contract."""


def secret_keys(section: str) -> tuple[str, ...]:
    """Return the keys of a section that hold secrets; each also comes as `<key>_file`."""
    return SECTIONS[section].secret_keys()
