"""The keys of `[privacy]`: which names are taken, how they are refused, and what is warned of."""

from __future__ import annotations

from pathlib import Path

import pytest
import tomli_w

from kuma_sync.core.errors import ConfigError
from kuma_sync.settings import Settings, load

SIDES = {"kuma": {"url": "https://k.example.com", "token": "t"}, "irp": {"url": "https://i.example.com", "token": "t"}}


def loaded(folder: Path, *, env: dict[str, str] | None = None, **sections: object) -> Settings:
    file = folder / "config.toml"
    file.write_text(tomli_w.dumps({**SIDES, **sections}))
    file.chmod(0o600)
    return load(file, env or {})


def test_names_come_from_the_file_or_from_the_environment_as_one_text(tmp_path: Path) -> None:
    file = loaded(tmp_path, privacy={"drop_fields": ["SourceUserName", "*Password*"]})
    env = {"KUMA_SYNC_PRIVACY__MASK_FIELDS": "SourceUserName, id"}

    assert file.privacy.drop_fields == ("SourceUserName", "*Password*")
    assert file.privacy.rules().on
    assert not file.privacy.rules().masks
    assert loaded(tmp_path, env=env).privacy.mask_fields == ("SourceUserName", "id")
    assert not loaded(tmp_path).privacy.rules().on


@pytest.mark.parametrize("name", ["ID", "Timestamp", "timestamp"])
def test_what_events_are_told_apart_by_cannot_be_hidden(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=r"privacy\.drop_fields.*ID and Timestamp of an event always stay"):
        loaded(tmp_path, privacy={"drop_fields": ["Message", name]})


@pytest.mark.parametrize("name", ["", "Source User", "[A-Z]*", "a\nb"])
def test_what_is_no_name_is_refused_with_an_example(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=r"privacy\.mask_fields.*expected the name of a field, such as"):
        loaded(tmp_path, privacy={"mask_fields": [name]})


def test_calls_that_are_passed_on_are_warned_of(tmp_path: Path) -> None:
    allow = {"passthrough": {"allow": ["GET /api/v1/assets/*"]}}

    both = loaded(tmp_path, web=allow, privacy={"drop_fields": ["Message"]})

    assert any(str(warning).startswith("privacy: does not reach") for warning in both.warnings)
    assert not any("privacy" in str(warning) for warning in loaded(tmp_path, web=allow).warnings)
