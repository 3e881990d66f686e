"""A profile that knows whose a field is: read by `get`, written under an ETag, commented."""

from __future__ import annotations

from collections.abc import Callable

Change = Callable[[str], str]

UNTIL_EDITED = """
until_edited = ["title", "assignee"]
"""
OWNED = f"""
once = ["severity"]{UNTIL_EDITED}
"""
GET = """
[get]
method = "GET"
path = "/api/v1/incidents/{{ incident.id }}"
ok_status = [200]
[get.extract]
status = "status"
etag = { header = "ETag" }
[get.extract.fields]
title = "fields.title"
assignee = "fields.assignee"
"""
COMMENT = """
[comment]
method = "POST"
path = "/api/v1/incidents/{{ incident.id }}/comments"
[comment.body]
text = "{{ comment }}"
"""
MATCH = 'headers = { If-Match = "{{ current.etag }}" }\n'
AUDIT = "audit_comments = true\n"


def owning(*, owned: str = OWNED, get: str = GET, match: str = "", comment: str = "", audit: str = "") -> Change:
    """Return a change of the profile's text: what is put into it, piece by piece."""

    def change(text: str) -> str:
        text = text.replace("[profile]\n", f"[profile]\n{audit}", 1)
        text = text.replace("[update]\n", f"[update]\n{match}{owned}", 1)
        return text.replace("[close]\n", f"{get}{comment}\n[close]\n", 1)

    return change
