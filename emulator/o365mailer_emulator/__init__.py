"""An emulator of the parts of Office 365 that a mail relay talks to.

The way of a token: ``entra`` receives a token request, ``grants`` decides on it, ``credential`` checks the secret or
the assertion, ``signing`` signs the JWT.

The way of a mail: ``submission`` accepts the connection, ``session`` speaks SMTP over a ``wire``, ``bearer`` checks the
token in AUTH with the ``rights`` that have spread so far, ``intake`` and ``verdict`` decide at the end of data, and
``lockout`` counts the errors that lock a mailbox.

``tenancy`` has the configuration (tenants, applications, mailboxes), ``script`` the scripted failures, ``ledger`` the
record of what happened. ``control`` and ``page`` show all three, and ``control`` changes them.

Errors, all in ``errors``::

    EmulatorError
    ├── ConfigurationError   a flag, a file or a control request is wrong; the text says where and how to fix it
    ├── EntraRefusal         the token endpoint refuses; has the AADSTS entry
    ├── TokenRefused         Exchange refuses the bearer token; has the reason, for the events
    ├── LineTooLong          an SMTP line or the data is over its limit
    └── ConnectionEnded      the SMTP client is gone, or a script cut the connection
"""
