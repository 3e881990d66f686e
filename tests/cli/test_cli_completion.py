"""The completion scripts in the shells themselves: what TAB offers, and that it never complains."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from prompt import merged, python, typed, usual, write_config

from kuma_sync.cli import COMMANDS
from kuma_sync.irp.load import built_in

BASH = r"""
set -u
source <(kuma-sync completion bash)
line=$1
COMP_LINE=$line COMP_POINT=${#line}
read -r -a COMP_WORDS <<< "$line"
[[ $line == *' ' ]] && COMP_WORDS+=('')
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
COMPREPLY=()
compopt() { :; }
_kuma_sync_completion kuma-sync
printf '%s\n' "${COMPREPLY[@]-}"
"""

ZSH = r"""
autoload -U compinit; compinit -u -D
eval "$(kuma-sync completion zsh)"
(( $+functions[_kuma_sync_completion] )) || exit 9
[[ ${_comps[kuma-sync]} == _kuma_sync_completion ]] || exit 8
compadd() {
    while [[ $1 == -* ]]; do
        [[ $1 == -V ]] && shift
        [[ $1 == -a ]] && { print -rl -- ${(P)2}; return }
        shift
    done
}
_describe() { while [[ $1 == -* ]]; do shift; done; shift; print -rl -- ${${(P)1}%%:*} }
_path_files() { : }
words=(${(s: :)1}); [[ $1 == *' ' ]] && words+=('')
CURRENT=${#words}
_kuma_sync_completion
"""

FISH = r"""
kuma-sync completion fish | source
complete --do-complete $argv[1] | string replace -r '\t.*' ''
true
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A folder with the command in it, as it is installed."""
    script = tmp_path / "bin" / "kuma-sync"
    script.parent.mkdir()
    script.write_text(f"#!{sys.executable}\nfrom kuma_sync.cli import main\nmain()\n")
    script.chmod(0o755)
    return script.parent


def offered(shell: str, path: Path, line: str, *, cwd: Path, **env: str) -> list[str]:
    """What a shell offers at the end of a line; it must say nothing else."""
    program = {"bash": BASH, "zsh": ZSH, "fish": FISH}[shell]
    options = {"bash": ["--norc", "-c", program, "bash", line], "zsh": ["-f", "-c", program, "zsh", line]}
    words = options.get(shell, ["--no-config", "-c", program, line])
    known = {**os.environ, "PATH": f"{path}:{os.environ['PATH']}", "HOME": str(cwd), "TERM": "xterm", **env}
    ended = subprocess.run([shell, *words], env=known, cwd=cwd, capture_output=True, text=True, check=False, timeout=60)
    assert (ended.returncode, ended.stderr) == (0, "")
    return ended.stdout.split()


SHELLS = [
    pytest.param(name, marks=pytest.mark.skipif(shutil.which(name) is None, reason=f"{name} is not installed"))
    for name in ("bash", "zsh", "fish")
]


@pytest.mark.parametrize("shell", SHELLS)
def test_commands_options_and_states_are_offered(shell: str, path: Path, tmp_path: Path) -> None:
    def offers(line: str) -> list[str]:
        return offered(shell, path, line, cwd=tmp_path)

    assert offers("kuma-sync ") == list(COMMANDS) or sorted(offers("kuma-sync ")) == sorted(COMMANDS)
    assert sorted(offers("kuma-sync re")) == ["release", "render", "resume", "resync", "retry"]
    assert offers("kuma-sync alerts --sta") == ["--state"]
    assert sorted(offers("kuma-sync alerts --state p")) == ["parked", "pending"]
    assert sorted(offers("kuma-sync db re")) == ["rebind"]
    assert sorted(offers("kuma-sync profile show ")) == sorted(built_in())
    assert sorted(offers("kuma-sync completion ")) == ["bash", "fish", "zsh"]


@pytest.mark.parametrize("shell", SHELLS)
def test_parts_and_targets_come_from_the_configuration(shell: str, path: Path, tmp_path: Path) -> None:
    north = {"targets": {"north": {"url": "http://127.0.0.1:1", "token_file": "/nowhere"}, "two words": {}}}
    write_config(tmp_path / "config.toml", merged(usual(tmp_path), north))
    write_config(tmp_path / "other.toml", {"targets": {"south": {}}})

    def offers(line: str, **env: str) -> list[str]:
        return sorted(offered(shell, path, line, cwd=tmp_path, **env))

    assert offers("kuma-sync pause ") == ["close", "irp", "kuma", "north"]
    assert offers("kuma-sync alerts --target n") == ["north"]
    assert offers("kuma-sync pause -c other.toml ") == ["close", "kuma", "south"]
    assert offers("kuma-sync -c other.toml resume s") == ["south"]
    assert offers("kuma-sync resume s", KUMA_SYNC_CONFIG="other.toml") == ["south"]


def no_file(_folder: Path) -> None:
    """Leave it away."""


def no_toml(folder: Path) -> None:
    (folder / "config.toml").write_bytes(b"\xff [[[ = \n")


def strange(folder: Path) -> None:
    (folder / "config.toml").write_text("targets = 7\nirp = 'x'\n")


def folder_instead(folder: Path) -> None:
    (folder / "config.toml").mkdir()


@pytest.mark.parametrize("given", [no_file, no_toml, strange, folder_instead])
def test_a_broken_configuration_is_no_error_on_tab(path: Path, tmp_path: Path, given: Callable[[Path], None]) -> None:
    given(tmp_path)

    for line in ("pause ", "pause -c config.toml ", "-c gone.toml -c other.toml alerts --target ", "compare --target "):
        assert set(offered("bash", path, f"kuma-sync {line}", cwd=tmp_path)) <= {"kuma", "close", "irp"}


@pytest.mark.parametrize(
    "line", ["nonsense ", "close a --reason x ", "backfill --since nonsense --st", "show 'un", "a b c "]
)
def test_nonsense_is_no_error_on_tab(path: Path, tmp_path: Path, line: str) -> None:
    offered("bash", path, f"kuma-sync {line}", cwd=tmp_path)


def test_the_commands_are_offered_without_loading_one(path: Path, tmp_path: Path) -> None:
    asked = {"_KUMA_SYNC_COMPLETE": "bash_complete", "COMP_WORDS": "kuma-sync ", "COMP_CWORD": "1"}
    ended = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", "import sys\nfrom kuma_sync.cli import main\nmain()"],
        env={**os.environ, **asked},
        capture_output=True,
        text=True,
        check=False,
    )

    assert ended.stdout.split()[0] == "plain,run"
    assert "sqlalchemy" not in ended.stderr


def test_another_shell_is_wrong_usage_and_the_script_is_the_same_each_time() -> None:
    answer = typed("completion", "tcsh")

    assert answer.code == 2
    assert "'bash', 'zsh', 'fish'" in answer.sentence
    assert python("-m", "kuma_sync", "completion", "bash").stdout == typed("completion", "bash").out
