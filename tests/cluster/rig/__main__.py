"""`python tests/cluster/rig VERB`: the test cluster's command line, from any Python, nothing installed."""

import sys

from cluster_rig.command import main

sys.exit(main(sys.argv[1:]))
