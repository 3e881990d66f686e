"""The operators' console: pages rendered here, complete without JavaScript. It shows and orders; it decides nothing."""
