"""An IRP, spoken to as a profile says."""
