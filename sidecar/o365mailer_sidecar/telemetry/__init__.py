"""What the process tells of itself: event log, audit records, metrics, health."""
