"""Imported by Python before anything else where ``hold.Hold.environment`` puts this folder on the path."""

import hold

hold.install()
