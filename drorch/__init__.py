"""drorch: backups that are believed because a drill restored them."""

from typing import Final

__version__: Final = "0.1.0"
