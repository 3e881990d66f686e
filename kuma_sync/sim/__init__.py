"""Simulators of KUMA and an IRP as real HTTP servers. They share no code with the clients."""
