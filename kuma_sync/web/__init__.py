"""The HTTP doors: translate, decide nothing."""
