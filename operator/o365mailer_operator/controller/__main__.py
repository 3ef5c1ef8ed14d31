"""`python -m o365mailer_operator.controller`."""

from o365mailer_operator.controller.main import main

main()
