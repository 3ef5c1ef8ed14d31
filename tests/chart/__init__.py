"""The chart as Helm renders and installs it. A package, so that what its tests share ends with them."""
