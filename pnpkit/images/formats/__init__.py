"""File formats, one codec per file. The table is ``images.files.FORMATS``."""
