"""Residual networks of infinite width and depth: what training converges to, how fast, and how small a proxy may therefore be."""

from ._activations import ACTIVATIONS as ACTIVATIONS
from ._activations import Activation as Activation
from ._closed_forms import TwoLayer as TwoLayer
from ._closed_forms import muP_example as muP_example
from ._closed_forms import two_layer as two_layer
from ._closed_forms import two_layer_flow as two_layer_flow
from ._diversity import DiversityTrend as DiversityTrend
from ._diversity import diversity_trend as diversity_trend
from ._diversity import feature_diversity as feature_diversity
from ._diversity import stream as stream
from ._lazy import Lazy as Lazy
from ._lazy import lazy as lazy
from ._limit import Diverged as Diverged
from ._limit import Limit as Limit
from ._linear import linear as linear
from ._losses import LOSSES as LOSSES
from ._losses import Loss as Loss
from ._nonlinear import nonlinear as nonlinear
from ._problem import Depth as Depth
from ._problem import Problem as Problem
from ._simulate import simulate as simulate
from ._tensor_programs import LinearRecursion as LinearRecursion
from ._tensor_programs import linear_recursion as linear_recursion
