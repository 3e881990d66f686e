"""Logs, metrics, health, systemd."""
