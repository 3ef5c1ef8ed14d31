"""What every suite shares: fixtures of the real peers, and the rule that a run in CI leaves nothing out."""

pytest_plugins = ["completeness", "cluster_fixtures", "emulator_client"]
