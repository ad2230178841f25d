"""The ground floor: what every result is made of; standard library only."""

from ._columns import columns as columns
from ._csv import csv_text as csv_text
from ._csv import write_csv as write_csv
from ._errors import MutransferError as MutransferError
from ._errors import MutransferWarning as MutransferWarning
from ._errors import needs as needs
from ._errors import parsing as parsing
from ._errors import writing as writing
from ._estimate import Estimate as Estimate
from ._frozen import FrozenDict as FrozenDict
from ._frozen import frozen as frozen
from ._json import number as number
from ._json import parsed as parsed
from ._json import plain as plain
from ._json import text as text
from ._progress import OnProgress as OnProgress
from ._progress import Progress as Progress
from ._provenance import about as about
from ._result import Drawn as Drawn
from ._result import Result as Result
from ._result import save_folder as save_folder
from ._size import Size as Size
from ._size import varying as varying
