"""The Debian package's units, made from the unit of the sources. What they do is tested in tests/system."""

from __future__ import annotations

import importlib.util
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
SOURCES = (DEPLOY / "kuma-sync.service").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def package() -> ModuleType:
    spec = importlib.util.spec_from_file_location("deb_build", DEPLOY / "deb" / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def settings(unit: str) -> set[str]:
    return {line for line in unit.splitlines() if line and not line.startswith("# ")}


def test_the_packages_unit_is_that_of_the_sources_with_a_user_of_its_own(package: ModuleType) -> None:
    assert settings(package.service()) ^ settings(SOURCES) - {"#"} == {
        *("DynamicUser=yes", "User=kuma-sync", "Group=kuma-sync")
    }


def test_nothing_of_one_installation_is_anothers(package: ModuleType) -> None:
    plain, template = settings(package.service()), settings(package.template())
    shared = {line for line in template & plain if "kuma-sync" in line}

    assert "Environment=KUMA_SYNC_CONFIG=/etc/kuma-sync/%i.toml" in template
    assert "LoadCredential=irp-token:/etc/kuma-sync/%i/irp-token" in template
    assert {line.split("=")[0] for line in shared} == {
        *("ExecStart", "ExecReload", "User", "Group", "ConfigurationDirectory")
    }


def test_the_configuration_that_is_installed_lacks_what_only_the_administrator_knows() -> None:
    text = (DEPLOY / "deb" / "config.toml").read_text(encoding="utf-8")
    for secret in ("kuma-token", "irp-token"):
        assert f'token_file = "${{CREDENTIALS_DIRECTORY}}/{secret}"' in text
        assert f"LoadCredential={secret}:/etc/kuma-sync/{secret}\n" in SOURCES

    assert [line.split("#")[0].strip() for line in text.splitlines() if line.startswith("url")] == ['url = ""'] * 2


@pytest.mark.parametrize("script", ["deb/postinst", "deb/prerm", "deb/postrm", "slim.sh", "offline/install.sh"])
def test_each_script_is_one_of_a_plain_shell_and_stops_at_an_error(script: str) -> None:
    text = (DEPLOY / script).read_text(encoding="utf-8")

    assert subprocess.run(["sh", "-n", DEPLOY / script], check=False).returncode == 0
    assert text.startswith("#!/bin/sh\n")
    assert "\nset -e" in text
