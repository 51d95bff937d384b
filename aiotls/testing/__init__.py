"""Tools for tests and development, shipped with the package; nothing else in the package imports them."""
