// Empty on purpose: go.sum beside it pins the published modules that the rig builds in (`python -m cluster_rig pin`).
module o365mailer.dev/rig/upstream

go 1.26.6
