"""Commands that need the store alone run in an operator's shell, where a service's credentials cannot be read."""

from __future__ import annotations

from pathlib import Path

import pytest

from kuma_sync.core.errors import ConfigError
from kuma_sync.settings import load

CONFIG = """
[kuma]
url = "https://kuma.example.com:7223"
token_file = "${CREDENTIALS_DIRECTORY}/kuma-token"
ca_file = "${CREDENTIALS_DIRECTORY}/ca.pem"
[irp]
url = "https://sv.example.com"
token_file = "/nowhere/irp-token"
[web.tokens]
security-vision_file = "${CREDENTIALS_DIRECTORY}/door"
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "config.toml"
    file.write_text(CONFIG, encoding="utf-8")
    return file


def test_secrets_out_of_reach_are_left_out_where_only_the_store_is_needed(config: Path) -> None:
    settings = load(config, {}, remotes=False)

    assert not settings.kuma.token
    assert not settings.irp.token
    assert (settings.kuma.ca_file, dict(settings.web.tokens)) == (None, {})


def test_secrets_out_of_reach_are_an_error_for_everything_else(config: Path) -> None:
    with pytest.raises(ConfigError, match="CREDENTIALS_DIRECTORY"):
        load(config, {})


def test_the_stores_own_password_must_be_readable_all_the_same(config: Path) -> None:
    config.write_text(
        CONFIG + '[store]\nurl = "postgresql://u@h/db"\npassword_file = "/nowhere/pw"\n', encoding="utf-8"
    )

    with pytest.raises(ConfigError, match=r"store\.password_file"):
        load(config, {}, remotes=False)
