"""A real OpenID Connect provider (canaille) as a program of its own: it says when it listens, and serves until its end.

Arguments: the address to listen on, the redirect address of the console. Olga is in the group soc, Boris in shift,
Vera in none; each has the password `<name>'s password`.
"""

from __future__ import annotations

import sys
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIServer, make_server

from canaille import create_app
from canaille.app import models
from canaille.backends import Backend
from canaille.backends.memory.backend import MemoryBackend

GROUPS = {"soc": ["olga"], "shift": ["boris"]}


_look_up = MemoryBackend.do_query


def _with_all(self: MemoryBackend, model: Any, *_more: Any, **wanted: Any) -> list[Any]:
    """Find what has all of the attributes; canaille itself takes what has one of them, such as another code."""
    if not wanted:
        return list(_look_up(self, model))
    found = [{one.id: one for one in _look_up(self, model, **{name: value})} for name, value in wanted.items()]
    return [found[0][one] for one in set.intersection(*map(set, found))]


MemoryBackend.do_query = _with_all


class Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


def main(listen: str, redirect: str) -> None:
    app = create_app(
        config={
            "SERVER_NAME": listen,
            "PREFERRED_URL_SCHEME": "http",
            "SECRET_KEY": "a secret of this test alone, long enough",
            "CANAILLE": {"DATABASE": "memory", "JAVASCRIPT": False, "HTMX": False},
            "CANAILLE_OIDC": {},
        }
    )
    with app.app_context():
        people = {
            name: models.User(
                user_name=name,
                display_name=name,
                formatted_name=name,
                family_name=name,
                emails=[f"{name}@example.com"],
                password=f"{name}'s password",
            )
            for name in ("olga", "boris", "vera")
        }
        for person in people.values():
            Backend.instance.save(person)
        for group, members in GROUPS.items():
            Backend.instance.save(models.Group(display_name=group, members=[people[name] for name in members]))
        client = models.Client(
            client_id="console",
            client_secret="canary-client-secret",
            client_name="kuma-sync",
            client_uri="http://127.0.0.1",
            redirect_uris=[redirect],
            grant_types=["authorization_code"],
            response_types=["code"],
            scope=["openid", "profile", "groups"],
            token_endpoint_auth_method="client_secret_basic",
        )
        Backend.instance.save(client)
        client.audience = [client]
        Backend.instance.save(client)
    host, _, port = listen.rpartition(":")
    with make_server(host, int(port), app, server_class=Server) as server:
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        server.serve_forever()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
