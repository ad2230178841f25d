"""The array types of numeric code."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[np.float64]]
"""An array of double precision; jaxtyping names its axes: Float[Array, "seeds rates"]."""

Indices = np.ndarray[Any, np.dtype[np.int64]]
"""An array of whole numbers."""
