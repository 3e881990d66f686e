"""What the daemon does: read KUMA, deliver to the IRP, carry closings both ways."""
