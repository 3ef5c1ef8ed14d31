module o365mailer.dev/rig/pki

go 1.25.0
