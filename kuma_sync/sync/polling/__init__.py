"""Reading KUMA: which reads are due, and what is recorded of each answer."""
