"""The plug-in of napari: ``napari.yaml`` names its panels, ``panels`` makes them, ``work`` does the work without Qt."""
