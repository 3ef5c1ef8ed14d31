"""An emulator of the part of Office 365 that a mail relay talks to.

Two journeys meet here. A token's: ``entra`` takes a token request, ``credential`` judges the secret or the assertion,
``signing`` signs the JWT. A mail's: ``submission`` accepts the connection, ``session`` speaks SMTP over a ``wire``,
``bearer`` judges the token that AUTH brings, ``verdict`` decides at the end of data. ``tenancy`` is what exists
(tenants, applications, mailboxes), ``script`` is what shall go wrong, ``ledger`` is what happened; ``control`` and
``page`` show and change all three.

Errors, all in ``errors``::

    EmulatorError
    ├── ConfigurationError   a flag, a file or a control request is wrong; its text says where and how to fix it
    ├── EntraRefusal         the token endpoint says no; carries the AADSTS entry
    ├── TokenRefused         Exchange does not take the bearer token; carries why, for the events and the page
    ├── LineTooLong          an SMTP line or the data is over its limit
    └── ConnectionEnded      an SMTP client is gone, or a script cut it off
"""
