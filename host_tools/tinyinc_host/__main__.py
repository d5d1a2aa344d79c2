"""python -m tinyinc_host: the `tinyinc` command without installing it."""

from tinyinc_host.cli import main

main()
