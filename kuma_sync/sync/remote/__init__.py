"""What stands before every request to a remote."""
