"""THE COMPOSITION ROOT: settings in, services out; no globals, no container."""
