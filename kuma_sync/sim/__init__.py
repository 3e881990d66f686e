"""The other side: KUMA and an IRP as real HTTP servers. Shares no code with the clients, so it is an honest witness."""
