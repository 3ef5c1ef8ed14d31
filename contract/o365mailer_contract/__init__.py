"""The boundary between the processes: names, the settings document, quantities.

The one place that keeps compatibility.
"""
