"""The one loop, its iterations and splittings, and what a run returns."""
