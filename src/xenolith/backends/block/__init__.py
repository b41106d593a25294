"""The backend of PV disks: blkif (public/io/blkif.h) in front of an image of storage/.

``backend`` shakes hands, ``queue`` serves a ring, ``requests`` (and its C code) says what a request
asks for, what is wrong with it, and where in memory its sectors are; ``disk`` carries requests out: at
once where nothing has to be waited for, else by ``workers``.
"""

from xenolith.backends.block.backend import BlockBackend

__all__ = ["BlockBackend"]
