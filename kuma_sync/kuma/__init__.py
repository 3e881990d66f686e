"""THE SIEM: everything KUMA-shaped ends in this room."""
