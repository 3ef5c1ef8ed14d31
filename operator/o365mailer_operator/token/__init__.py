"""From a mailer's spec to the files that its relay reads: shared by the controller and `o365mailer run`.

The way of a token: `spec` → `endpoints` say where it may come from →
`credential` and `certificate` read the Secrets → `grant` is the request, ready to be sent → `entra` sends it through
MSAL on `wire`, whose answers `answer` and `aadsts` judge → `bearer` is the token → `directory` are the files →
`schedule` says when to ask again. `errors` draws everything that can go wrong.

No kopf, no kubernetes, no aiohttp; MSAL in `entra` alone.
"""
