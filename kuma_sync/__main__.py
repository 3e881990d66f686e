"""`python -m kuma_sync`: the same as the `kuma-sync` command."""

from kuma_sync import cli
from kuma_sync.cli.bug import hide_in_crashes


def main() -> None:
    """Run the command that was typed."""
    hide_in_crashes()
    cli.main()


if __name__ == "__main__":
    main()
