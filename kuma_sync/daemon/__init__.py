"""MOVEMENT: loops, and nothing else."""
