"""Where relative paths lead: never to the folder that a command happens to be called in."""

from __future__ import annotations

from pathlib import Path

import pytest

from kuma_sync.core.errors import ConfigError
from kuma_sync.settings import load, places_of

GOOD = {
    "KUMA_SYNC_KUMA__URL": "kuma.example.com",
    "KUMA_SYNC_KUMA__TOKEN": "t",
    "KUMA_SYNC_IRP__URL": "https://sv.example.com",
}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder that is neither the configuration's nor the state's."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "etc" / "config.toml"
    file.parent.mkdir()
    file.write_text("")
    return file


def test_a_relative_store_lies_beside_its_configuration(config: Path) -> None:
    assert load(config, GOOD).store.url == f"sqlite:///{config.parent}/kuma-sync.db"


def test_a_configuration_that_is_named_relatively_is_no_other(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(config.parent.parent)

    assert load(Path("etc/config.toml"), GOOD).store.url == f"sqlite:///{config.parent}/kuma-sync.db"


@pytest.mark.parametrize("given", ["{}/var", "{}/var:{}/second"])
def test_systemds_state_directory_takes_a_relative_store(config: Path, tmp_path: Path, given: str) -> None:
    env = {**GOOD, "STATE_DIRECTORY": given.replace("{}", str(tmp_path))}

    assert load(config, env).store.url == f"sqlite:///{tmp_path}/var/kuma-sync.db"


@pytest.mark.parametrize("name", ["config.toml", "north/config.toml"])
def test_a_system_wide_configuration_has_its_state_in_var_lib(name: str) -> None:
    assert places_of(Path("/etc/kuma-sync") / name, {}).state == Path("/var/lib/kuma-sync")
    assert places_of(Path("/etc/kuma-sync-north") / name, {}).state != Path("/var/lib/kuma-sync")


def test_an_installation_of_the_template_unit_has_its_state_in_its_own_folder(tmp_path: Path) -> None:
    (tmp_path / "north").mkdir()

    def state(name: str) -> Path:
        return places_of(Path("/etc/kuma-sync") / name, {}, system_state=tmp_path).state

    assert state("north.toml") == tmp_path / "north"
    assert state("south.toml") == tmp_path, "no service made it a folder"
    assert state("north/config.toml") == tmp_path


def test_without_a_file_the_current_folder_is_the_only_one(elsewhere: Path) -> None:
    assert load(None, GOOD).store.url == f"sqlite:///{elsewhere}/kuma-sync.db"


@pytest.mark.parametrize("url", ["sqlite:////srv/kuma.db", "postgresql://user@host/db"])
def test_a_store_with_its_whole_address_stays_where_it_is(config: Path, tmp_path: Path, url: str) -> None:
    env = {**GOOD, "STATE_DIRECTORY": str(tmp_path), "KUMA_SYNC_STORE__URL": url}

    assert load(config, env).store.url == url


def test_a_store_in_a_folder_with_odd_signs_is_that_file(tmp_path: Path) -> None:
    from kuma_sync.store import store_url

    file = tmp_path / "50% #1? ü" / "config.toml"
    file.parent.mkdir()
    file.write_text("")

    assert store_url(load(file, GOOD).store.url).database == str(file.parent / "kuma-sync.db")


@pytest.mark.parametrize("folder", ["etc", "var"])
@pytest.mark.parametrize("profile", ["ours.toml", "profiles/ours", "ours"])
def test_a_profile_lies_in_the_state_directory_or_beside_the_configuration(
    config: Path, tmp_path: Path, folder: str, profile: str
) -> None:
    file = tmp_path / folder / profile
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("")
    env = {**GOOD, "KUMA_SYNC_IRP__PROFILE": profile, "STATE_DIRECTORY": str(tmp_path / "var")}

    assert load(config, env).irp.profile == str(file)


def test_a_built_in_profile_is_no_path(config: Path) -> None:
    (config.parent / "security-vision").write_text("")

    assert load(config, GOOD).irp.profile == "security-vision"


def test_what_is_in_both_folders_is_taken_from_the_state_directory(config: Path, tmp_path: Path) -> None:
    for folder in ("etc", "var"):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / "irp-token").write_text(f"from-{folder}")
    env = {**GOOD, "KUMA_SYNC_IRP__TOKEN_FILE": "irp-token", "STATE_DIRECTORY": str(tmp_path / "var")}

    assert load(config, env).irp.token.reveal() == "from-var"


def test_every_file_that_is_named_relatively_is_found_beside_the_configuration(config: Path) -> None:
    for name in ("token", "ca.pem", "cert.pem", "key.pem", "door"):
        (config.parent / name).write_text("x")
    config.write_text(
        "[irp]\ntoken_file = 'token'\nca_file = './ca.pem'\nclient_cert = 'cert.pem'\nclient_key = 'key.pem'\n"
        "[web]\ncert_file = 'cert.pem'\n[web.tokens]\nsv_file = 'door'\n"
    )

    settings = load(config, GOOD)

    irp, web = settings.irp, settings.web
    found = [irp.token.path, irp.ca_file, irp.client_cert, irp.client_key, web.cert_file, web.tokens["sv"].path]
    names = ("token", "ca.pem", "cert.pem", "key.pem", "cert.pem", "door")
    assert found == [config.parent / name for name in names]


def test_a_file_that_is_nowhere_is_told_with_every_place_looked_at(config: Path, tmp_path: Path) -> None:
    env = {**GOOD, "STATE_DIRECTORY": str(tmp_path / "var")}
    config.write_text("[irp]\nca_file = 'ca.pem'")

    with pytest.raises(ConfigError) as caught:
        load(config, env)

    assert str(caught.value) == f"irp.ca_file: there is no such file: {tmp_path}/var/ca.pem or {config.parent}/ca.pem"


def test_an_empty_state_directory_counts_as_none(config: Path) -> None:
    assert places_of(config, {"STATE_DIRECTORY": ""}).state == config.parent
