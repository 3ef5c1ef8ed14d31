module o365mailer.dev/rig/pause

go 1.25.0
