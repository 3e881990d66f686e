"""The composition root, which builds everything from settings, and the life of the process."""
