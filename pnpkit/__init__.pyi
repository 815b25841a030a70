"""The public names, each written once; ``__init__.py`` loads them from here at their first use."""

__version__: str

from .algorithms import fista as fista
from .algorithms import ista as ista
from .algorithms import plug_and_play as plug_and_play
from .algorithms import projected_gradient as projected_gradient
from .algorithms import proximal_gradient as proximal_gradient
from .algorithms import regularised as regularised
from .certificates import Certificate as Certificate
from .certificates import Side as Side
from .certificates import nothing as nothing
from .errors import InputError as InputError
from .errors import PnpError as PnpError
from .fidelity import LeastSquares as LeastSquares
from .maps import Map as Map
from .operators.blur import blur as blur
from .operators.norms import norm_bound as norm_bound
from .registry import Card as Card
from .registry import certify as certify
from .registry import denoisers as denoisers
from .registry import load_denoiser as load_denoiser
from .restoration.blur_kernel import estimate_kernel as estimate_kernel
from .restoration.deblur import deblur as deblur
from .restoration.denoise import denoise as denoise
from .restoration.inpaint import inpaint as inpaint
from .restoration.result import Restoration as Restoration
from .restoration.settings import Settings as Settings
from .restoration.simulate import simulate as simulate
from .restoration.upscale import upscale as upscale
from .solvers.iterations import Anderson as Anderson
from .solvers.iterations import Fista as Fista
from .solvers.iterations import Halpern as Halpern
from .solvers.iterations import KrasnoselskiiMann as KrasnoselskiiMann
from .solvers.iterations import Picard as Picard
from .solvers.loop import solve as solve
from .solvers.result import Result as Result
from .solvers.result import Status as Status
from .solvers.splittings import admm as admm
from .solvers.splittings import continuation as continuation
from .solvers.splittings import davis_yin as davis_yin
from .solvers.splittings import douglas_rachford as douglas_rachford
from .solvers.splittings import forward_backward as forward_backward
from .solvers.splittings import half_quadratic as half_quadratic
