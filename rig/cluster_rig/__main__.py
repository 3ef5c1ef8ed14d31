"""`python -m cluster_rig VERB`: the test cluster's command line; needs this directory's parent on PYTHONPATH only."""

import sys

from cluster_rig.command import main

sys.exit(main(sys.argv[1:]))
