"""Reading KUMA: what is asked for when, and what becomes of each answer."""
