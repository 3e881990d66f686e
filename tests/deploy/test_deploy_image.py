"""The container image: what its build may use, and that it is given what it copies."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
INSTRUCTIONS = re.sub(r"\\\n", " ", re.sub(r"(?m)^\s*#.*\n", "", DOCKERFILE)).splitlines()


def instructions(name: str) -> list[str]:
    return [line.removeprefix(name).strip() for line in INSTRUCTIONS if line.startswith(name + " ")]


def copied_from_the_tree() -> set[str]:
    copies = [line.split() for line in instructions("COPY") if not line.startswith("--from=")]
    return {source for words in copies for source in words[:-1]}


def test_the_build_keeps_to_what_every_builder_knows() -> None:
    assert "<<" not in DOCKERFILE
    assert not re.search(r"--link|--network|--start-interval|--mount", DOCKERFILE)


def test_hadolint_has_nothing_to_say() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")

    judged = subprocess.run([hadolint, ROOT / "Dockerfile"], capture_output=True, text=True, check=False)

    assert (judged.returncode, judged.stdout, judged.stderr) == (0, "", "")


def test_the_base_is_the_same_in_both_stages_and_can_be_chosen() -> None:
    assert instructions("ARG")[0].startswith("PYTHON_IMAGE=python:3.")
    assert instructions("FROM") == ["${PYTHON_IMAGE} AS build", "${PYTHON_IMAGE}"]


def test_every_requirement_is_locked_by_its_hash() -> None:
    installs = re.findall(r"pip install ([^&]*)", DOCKERFILE)

    assert installs
    assert all("--require-hashes" in install or "--no-deps --no-index" in install for install in installs)


def test_the_daemon_is_not_root_and_writes_only_to_its_data() -> None:
    assert instructions("USER") == ["10001:10001"]
    assert instructions("WORKDIR")[-1] == instructions("VOLUME")[-1] == "/data"


def test_a_relative_store_lies_in_the_volume() -> None:
    assert f"STATE_DIRECTORY={instructions('VOLUME')[-1]} " in instructions("ENV")[-1]


def test_the_health_check_does_not_ask_about_the_other_side() -> None:
    (check,) = instructions("HEALTHCHECK")

    assert check.endswith('CMD ["kuma-sync", "health", "--live"]')


def test_the_build_is_given_what_it_copies_and_nothing_else() -> None:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    given = {line.removeprefix("!") for line in lines if line.startswith("!")}

    assert "*" in lines
    assert given == copied_from_the_tree()
    assert [name for name in given if not (ROOT / name).exists()] == []


def test_compose_mounts_the_stores_folder_never_its_file() -> None:
    lines = (ROOT / "deploy" / "compose.yaml").read_text(encoding="utf-8").splitlines()
    mounts = [line.strip().removeprefix("- ") for line in lines if re.match(r"\s+- \S+:/", line)]

    assert "data:/data" in mounts
    assert [mount for mount in mounts if ".db" in mount] == []
