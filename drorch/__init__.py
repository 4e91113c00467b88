"""drorch: backups that are believed because a drill restored them."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("drorch")
except PackageNotFoundError:  # a checkout that is on the path but not installed
    __version__ = "0+checkout"
