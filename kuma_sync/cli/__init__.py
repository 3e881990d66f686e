"""The command: commands, wiring, exit codes; the only place that prints."""


def main() -> None:
    """Run the `kuma-sync` command."""
