"""Two forward passes of one architecture: sums that grow, residual stacks."""

from ._account import account as account
from ._facts import Cause as Cause
from ._fate import fate as fate
from ._fate import is_divided_by_length as is_divided_by_length
from ._fate import is_key_value as is_key_value
from ._fate import is_split_into_output as is_split_into_output
from ._growth import check_same_inputs as check_same_inputs
from ._heads import Contraction as Contraction
from ._heads import attention_logits as attention_logits
from ._heads import contraction as contraction
from ._heads import heads_of as heads_of
from ._heads import looked_up as looked_up
from ._operations import FACTORS as FACTORS
from ._operations import TOTALS as TOTALS
from ._signals import Signals as Signals
from ._stacks import Stack as Stack
from ._stacks import stack_of as stack_of
from ._stars import Stars as Stars
from ._steps import WHOLE as WHOLE
from ._streams import Join as Join
from ._walk import Finding as Finding
from ._walk import Use as Use
from ._walk import Walk as Walk
