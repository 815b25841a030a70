"""File formats: one codec a file; the table is ``images.files.FORMATS``."""
