"""Point-spread functions: computed from optics, or measured from beads and stars."""
