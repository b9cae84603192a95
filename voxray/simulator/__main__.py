"""`python -m voxray.simulator` is `voxray-dial`."""

from voxray.simulator.cli import main

main()
