"""A profile's `[auth]` for the simulators' knob `login`, in place of a fixed token."""

from __future__ import annotations

TOKEN_LOGIN = """[auth]
kind = "login"
[auth.login]
method = "POST"
path = "/login"
body = { username = "{{ username }}", password = "{{ password }}" }
extract = { token = "token", expires_in = "expires_in" }
"""
COOKIE_LOGIN = """[auth]
kind = "login"
cookie = true
[auth.login]
method = "POST"
path = "/login"
encoding = "form"
body = { username = "{{ username }}", password = "{{ password }}" }
"""
