"""Build the Debian package: the program and its locked requirements below /opt/kuma-sync, for one version of Python.

    python deploy/deb/build.py build [--python /usr/bin/python3]

It needs dpkg-deb, and the Python of the Debian that the package is for. The same commit gives the same bytes: all dates
in it are SOURCE_DATE_EPOCH, or else the commit's.
"""

from __future__ import annotations

import argparse
import gzip
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
OPT = "opt/kuma-sync"
UNIT = (ROOT / "deploy" / "kuma-sync.service").read_text(encoding="utf-8")
CONTROL = """\
Package: kuma-sync
Version: {version}
Architecture: {architecture}
Maintainer: kuma-sync <root@localhost>
Section: admin
Priority: optional
Installed-Size: {size}
Depends: python3 (>= {python}), python3 (<< {next_python}~), systemd (>= 247), libc6, libgcc-s1, libstdc++6
Recommends: ca-certificates
Suggests: postgresql, sqlite3
Description: one IRP incident per Kaspersky KUMA alert
 A service that reads the alerts of Kaspersky KUMA, makes one incident of each
 in an IRP, keeps it up to date, and carries closings both ways.
 .
 It does not start by itself: fill in /etc/kuma-sync/config.toml, put the
 tokens beside it, then: systemctl enable --now kuma-sync
"""
COPYRIGHT = (
    "The program below /opt/kuma-sync holds libraries of others; each one's licence lies in its *.dist-info folder.\n"
)
COMPLETIONS = {
    "bash": "usr/share/bash-completion/completions/kuma-sync",
    "zsh": "usr/share/zsh/vendor-completions/_kuma-sync",
    "fish": "usr/share/fish/vendor_completions.d/kuma-sync.fish",
}


def main() -> None:
    """Build the package and print its path."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("into", type=Path)
    parser.add_argument("--python", default="/usr/bin/python3", help="the Python that the package is for")
    given = parser.parse_args()
    given.into.mkdir(parents=True, exist_ok=True)
    os.umask(0o022)
    os.environ.setdefault("SOURCE_DATE_EPOCH", _last_change())
    with tempfile.TemporaryDirectory(prefix="kuma-sync-deb-") as folder:
        tree = Path(folder) / "tree"
        version = _program(tree, given.python, Path(folder))
        _documents(tree)
        _service(tree)
        sys.stdout.write(f"{_packed(tree, version, given.python, given.into)}\n")


def _last_change() -> str:
    """Return the time of the last commit; in sources without a history, of the changelog."""
    told = subprocess.run(
        ["/usr/bin/env", "git", "log", "-1", "--format=%ct"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return told.stdout.strip() or str(int((ROOT / "CHANGELOG.md").stat().st_mtime))


def _program(tree: Path, python: str, folder: Path) -> str:
    """Install the wheel and its requirements; return the version."""
    home = tree / OPT
    _run(python, "-m", "venv", "--without-pip", home)
    _run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder, cwd=ROOT)
    (wheel,) = folder.glob("*.whl")
    pip = (sys.executable, "-m", "pip", "--python", home / "bin" / "python3", "--disable-pip-version-check", "install")
    quiet = ("--quiet", "--no-compile", "--root-user-action=ignore")
    _run(*pip, *quiet, "--only-binary", ":all:", "--require-hashes", "-r", ROOT / "requirements.lock")
    # By its name, not its path: of a path pip would write down where it lay.
    _run(*pip, *quiet, "--no-deps", "--no-index", "--find-links", folder, "kuma-sync")
    (libraries,) = home.glob("lib/*/site-packages")
    _run(ROOT / "deploy" / "slim.sh", libraries)
    _moved(home, python)
    return wheel.name.split("-")[1]


def _moved(home: Path, python: str) -> None:
    """Make the environment one of /opt/kuma-sync, with one command, and without a trace of where it was built."""
    for path in (home / "bin").iterdir():
        if not path.name.startswith("python"):
            path.unlink()
    real = Path(python).resolve()
    (home / "bin" / "python3").unlink()
    (home / "bin" / "python3").symlink_to(real)
    command = home / "bin" / "kuma-sync"
    command.write_text(f"#!/{OPT}/bin/python3\nimport sys\n\nfrom kuma_sync.__main__ import main\n\nsys.exit(main())\n")
    command.chmod(0o755)
    settings = home / "pyvenv.cfg"
    kept = [line for line in settings.read_text().splitlines() if not line.startswith(("command", "home"))]
    settings.write_text("\n".join([f"home = {real.parent}", *kept]) + "\n")
    for record in home.glob("lib/*/site-packages/*.dist-info/RECORD"):
        lines = record.read_text(encoding="utf-8").splitlines(keepends=True)
        record.write_text("".join(line for line in lines if "/bin/" not in line.split(",")[0]), encoding="utf-8")
    shutil.rmtree(home / "include", ignore_errors=True)
    for leftover in home.rglob("__pycache__"):
        shutil.rmtree(leftover)


def _documents(tree: Path) -> None:
    """Write manual pages, completion scripts, and what lies below /usr/share/doc."""
    doc, man = tree / "usr/share/doc/kuma-sync", tree / "usr/share/man/man1"
    (doc / "examples").mkdir(parents=True)
    _run(sys.executable, ROOT / "deploy" / "man.py", man)
    for page in man.iterdir():
        _compressed(page.read_bytes(), page.with_name(f"{page.name}.gz"))
        page.unlink()
    for shell, name in COMPLETIONS.items():
        (tree / name).parent.mkdir(parents=True)
        (tree / name).write_text(_run(sys.executable, "-m", "kuma_sync", "completion", shell), encoding="utf-8")
    _compressed((ROOT / "CHANGELOG.md").read_bytes(), doc / "changelog.gz")
    (doc / "copyright").write_text(COPYRIGHT, encoding="utf-8")
    shutil.copy(ROOT / "config.example.toml", doc / "examples" / "config.toml")
    for alarms in ("grafana", "prometheus"):
        shutil.copytree(ROOT / "deploy" / alarms, doc / "examples" / alarms)
    shutil.copy(ROOT / "README.md", doc)
    shutil.copytree(ROOT / "docs", doc / "docs", ignore=shutil.ignore_patterns("adr", "pictures"))


def _service(tree: Path) -> None:
    """Write the units, the user and the configuration, and put the command on the PATH."""
    units, users, etc = tree / "lib/systemd/system", tree / "usr/lib/sysusers.d", tree / "etc/kuma-sync"
    for folder in (units, users, etc, tree / "usr/bin"):
        folder.mkdir(parents=True)
    (units / "kuma-sync.service").write_text(service(), encoding="utf-8")
    (units / "kuma-sync@.service").write_text(template(), encoding="utf-8")
    shutil.copy(HERE / "sysusers.conf", users / "kuma-sync.conf")
    shutil.copy(HERE / "config.toml", etc)
    (tree / "usr/bin/kuma-sync").symlink_to(f"/{OPT}/bin/kuma-sync")


def service() -> str:
    """Return the unit: that of the sources, with the package's own user, and without how to install it."""
    head, unit = UNIT.split("\n\n[Unit]\n")
    changes = "Changes belong into a drop-in: systemctl edit"
    if changes not in head:
        raise ValueError("deploy/kuma-sync.service begins otherwise than it did")
    return f"# {changes} kuma-sync\n\n[Unit]\n{_replaced(unit, 'DynamicUser=yes', 'User=kuma-sync', 'Group=kuma-sync')}"


def template() -> str:
    """Return the unit for several installations: NAME.toml, the folder NAME with its tokens, and a store of its own."""
    unit = service().replace("systemctl edit kuma-sync", "systemctl edit kuma-sync@NAME")
    unit = _replaced(unit, "Environment=KUMA_SYNC_CONFIG=/etc/kuma-sync/config.toml", f"Environment={_CONFIG}")
    unit = _replaced(unit, "StateDirectory=kuma-sync", "StateDirectory=kuma-sync/%i")
    unit = _replaced(unit, "WorkingDirectory=%S/kuma-sync", "WorkingDirectory=%S/kuma-sync/%i")
    described = re.sub(r"(?m)^(Description=.*)$", r"\1 (%i)", unit)
    return re.sub(r"(?m)^(#?LoadCredential=[\w-]+:/etc/kuma-sync)/", r"\1/%i/", described)


_CONFIG = "KUMA_SYNC_CONFIG=/etc/kuma-sync/%i.toml"


def _replaced(unit: str, line: str, *instead: str) -> str:
    before, found, after = unit.partition(f"\n{line}\n")
    if not found:
        raise ValueError(f"deploy/kuma-sync.service has no line {line}")
    return "\n".join([before, *instead, after])


def _packed(tree: Path, version: str, python: str, into: Path) -> Path:
    """Write the control files and pack the tree."""
    major, minor = map(int, _run(python, "-c", "import sys; print(*sys.version_info[:2])").split())
    size = sum(path.lstat().st_size for path in tree.rglob("*")) // 1024
    control = tree / "DEBIAN"
    control.mkdir()
    # A package for a newer Python is newer: it comes with the next Debian.
    values = {"version": f"{version}+py{major}.{minor}", "python": f"{major}.{minor}", "size": size}
    architecture = _run("dpkg", "--print-architecture").strip()
    text = CONTROL.format(**values, next_python=f"{major}.{minor + 1}", architecture=architecture)
    (control / "control").write_text(text, encoding="utf-8")
    (control / "conffiles").write_text("/etc/kuma-sync/config.toml\n", encoding="utf-8")
    for name in ("postinst", "prerm", "postrm"):
        shutil.copy(HERE / name, control)
        (control / name).chmod(0o755)
    _plain(tree)
    package = into / f"kuma-sync_{values['version']}_{architecture}.deb"
    _run("dpkg-deb", "--root-owner-group", "--threads-max=1", "-Zzstd", "-z9", "--build", tree, package)
    return package


def _plain(tree: Path) -> None:
    """Give every file the same rights and the same date, whoever built it and when."""
    epoch = int(os.environ["SOURCE_DATE_EPOCH"])
    for path in _all(tree):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
        os.utime(path, (epoch, epoch), follow_symlinks=False)


def _all(tree: Path) -> Iterator[Path]:
    yield from sorted(tree.rglob("*"))
    yield tree


def _compressed(content: bytes, path: Path) -> None:
    path.write_bytes(gzip.compress(content, 9, mtime=0))


def _run(*words: str | Path, cwd: Path | None = None) -> str:
    """Run a command and return what it printed; end with its output where it fails."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("KUMA_SYNC", "PYTHONPATH"))}
    done = subprocess.run(  # noqa: S603  # our own words
        [*map(str, words)], cwd=cwd, env=env, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{' '.join(map(str, words))} ended with {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    main()
