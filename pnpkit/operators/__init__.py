"""Forward models: deepinv physics, and what it lacks, a proven norm."""

from pnpkit.operators.blur import BOUNDARIES, blur
from pnpkit.operators.matrix import from_matrix
from pnpkit.operators.norms import NormBound, norm_bound, smallest_singular_value

__all__ = ["BOUNDARIES", "NormBound", "blur", "from_matrix", "norm_bound", "smallest_singular_value"]
