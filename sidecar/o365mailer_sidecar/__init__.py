"""The relay beside an app: SMTP in on loopback, SMTP out to Office 365 with the mailer's token.

The way of a mail, in the order of the files::

    app ── inbox ─ session ─ dialogue ─ commands ─ body ──► envelope + body
                                                     │
                                                   relay ── directory   (settings, token, authorities)
                                                     │
                             message ─ parameters ─ pool ─ connection ─ dialer ─ starttls ─ talk
                                                     │             └ delivery ─ conversation ──► Exchange
                                                     │
    app ◄── reply ◄──────────────────────────── verdict

`session` and `dialogue` know nothing of Exchange, `connection` nothing of the app; `relay` is the port between them and
the only place that weighs what was sent against who still waits. `commands`, `body`, `message`, `parameters`, `verdict`
and `reply` are pure: data in, data out. `service` puts the parts together, `main` reads the command line.
"""
