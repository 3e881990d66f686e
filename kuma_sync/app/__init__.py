"""The composition root: settings in, services out; no globals, no container. And the process's life."""
