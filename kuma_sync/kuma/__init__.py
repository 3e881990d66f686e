"""KUMA's API: whatever has KUMA's form ends in this package."""
