"""CONFIGURATION: frozen sections from one TOML file and the environment; errors that name the key and show no secret."""

from kuma_sync.settings.secret import Secret

__all__ = ["Secret"]
