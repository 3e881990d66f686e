"""THE DESK: an IRP spoken to as a profile says. Must not: decide what an incident needs, or know the store."""
