"""Experiments: the demo, and the papers' systems and figures, one folder each.

A folder holds an `EXPERIMENT`, with its claims as data, and `result.json`, what was measured last.
"""

from ._bench import SCALES as SCALES
from ._bench import Bench as Bench
from ._bench import Experiment as Experiment
from ._bench import Measured as Measured
from ._catalogue import committed as committed
from ._catalogue import experiment as experiment
from ._catalogue import names as names
from ._claim import Claim as Claim
from ._claim import Finding as Finding
from ._claim import shown as shown
from ._demo import RULES as RULES
from ._demo import Demo as Demo
from ._demo import demo as demo
from ._demo import studies as studies
from ._outcome import Outcome as Outcome
from ._proof import Proof as Proof
from ._proof import prove as prove
from ._run import run_experiment as run_experiment
