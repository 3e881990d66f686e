"""What an IRP that polls us is given, and when that counts as delivered."""
