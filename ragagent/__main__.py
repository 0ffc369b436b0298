"""`python -m ragagent` is the command line."""

from ragagent.cli import main

main()
