"""`python -m mutransfer` is the command `mutransfer`."""

from .cli import main

main()
