"""The public names of the room."""

from .classifier import Classifier as Classifier
from .classifier import ClassifierConfig as ClassifierConfig
from .datasets import Split as Split
from .evaluation import evaluate as evaluate
from .pgd import Attack as Attack
from .pgd import attack as attack
from .radii import certify_samples as certify_samples
from .registry import classifiers as classifiers
from .registry import load_classifier as load_classifier
from .training import ClassifierTraining as ClassifierTraining
from .training import train_classifier as train_classifier
