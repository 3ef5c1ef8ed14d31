module o365mailer.dev/tests/apps

go 1.21
