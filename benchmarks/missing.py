"""The error for what this machine cannot measure."""


class NotMeasured(Exception):
    """A row, or a rival in it, cannot be measured here. The text says why."""
