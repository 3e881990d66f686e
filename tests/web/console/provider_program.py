"""A real OpenID Connect provider (canaille) as a program of its own: it prints its port, and serves until it is ended.

Arguments: the port to listen on, the redirect address of the console. Anna is in the group soc, Boris in shift,
Vera in none; each has the password `<name>'s password`.
"""

from __future__ import annotations

import sys
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIServer, make_server

from canaille import create_app
from canaille.app import models
from canaille.backends import Backend

GROUPS = {"soc": ["anna"], "shift": ["boris"]}


class Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


def main(port: int, redirect: str) -> None:
    app = create_app(
        config={
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
            for name in ("anna", "boris", "vera")
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
    with make_server("127.0.0.1", port, app, server_class=Server) as server:
        sys.stdout.write(f"{server.server_port}\n")
        sys.stdout.flush()
        server.serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
