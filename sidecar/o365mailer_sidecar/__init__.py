"""The relay next to an app: SMTP in on loopback, SMTP out to Office 365 with the mailer's token.

A message goes one way, each arrow a call::

    app -> smtp.session -> smtp.commands -> relay -> upstream.submit -> smtp.transaction -> Exchange
                                              |
                                              +----> queue.accept -> spool
                                                     queue.scheduler -> upstream.submit, then queue.finish

`app` puts the parts together, `main` reads the command line.
"""
