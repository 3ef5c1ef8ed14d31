"""The admission webhook: a pod that names a mailer gets the sidecar, by a JSON patch and nothing else.

Read in the order of a request: `main`, `options` → `connections` (bounded in time and memory) → `server` (TLS,
AdmissionReview in and out) → `review` (the typed request) → `workload` or `injection` (pure: object in, verdict out).
`injection` uses `annotations` (read strictly), `ports`, `spool`, `resources` and `container`. `pki` keeps the server's
certificate.

Nothing here talks to the API server. A request holds everything that its answer needs, so any replica can answer any
request, and no replica needs a right in the cluster.

    Exception
    ├── Refused             a user's mistake, with its reason and the fix: becomes a denial
    └── MalformedReview     the body is not an AdmissionReview                                        ValueError
"""
