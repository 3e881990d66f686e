"""The loops of the daemon: started, supervised, stopped and watched."""
