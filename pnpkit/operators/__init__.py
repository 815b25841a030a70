"""Forward models: deepinv physics, and what it lacks, a proven norm."""

from pnpkit.operators.blur import BOUNDARIES, blur
from pnpkit.operators.norms import NormBound, norm_bound, smallest_singular_value

__all__ = ["BOUNDARIES", "NormBound", "blur", "norm_bound", "smallest_singular_value"]
