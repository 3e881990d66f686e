"""EYES: logs, metrics, health, systemd."""
