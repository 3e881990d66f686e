"""`python -m kuma_sync`: the same as the `kuma-sync` command."""

from kuma_sync.cli import main

if __name__ == "__main__":
    main()
