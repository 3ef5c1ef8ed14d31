"""Makes the files of a release, and checks what they must agree on. `make dist` runs it (docs/release.md)."""
