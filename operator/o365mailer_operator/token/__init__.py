"""From a mailer's spec to the files that its relay reads: shared by the controller and `o365mailer run`.

The way of a token: `spec` → `endpoints` (where it may come from) → `credential`, `certificate` (the Secrets) → `grant`
(the request, ready to be sent) → `entra` sends it through MSAL on `wire`; `answer` and `aadsts` judge the answer
→ `bearer` (the token) → `directory` (the files) → `schedule` (when to ask again). `errors` has all that can go wrong.

No kopf, no kubernetes, no aiohttp; MSAL in `entra` alone.
"""
