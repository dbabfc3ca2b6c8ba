"""Studies, datalists, splits by subject, and phantoms."""
