"""Revisions are read off the file names, so that a start need not load Alembic: the names must tell the truth."""

from __future__ import annotations

import subprocess
import sys

from alembic.script import ScriptDirectory

from kuma_sync.store.migrate import head, known, migrations_path


def test_the_files_are_named_after_their_revisions() -> None:
    scripts = ScriptDirectory(str(migrations_path()))

    revisions = [script.revision for script in scripts.walk_revisions()]

    assert known() == revisions[::-1]
    assert head() == scripts.get_current_head()


def test_a_start_loads_no_alembic() -> None:
    code = "import sys, kuma_sync.app.lifecycle; sys.exit('alembic' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
