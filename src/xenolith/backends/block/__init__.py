"""The backend of PV disks: blkif (public/io/blkif.h) in front of an image of storage/.

``backend`` shakes hands, ``queue`` serves a ring, ``requests`` says what a request asks for and what
is wrong with it, ``frames`` finds the guest's memory, ``disk`` carries requests out: at once where
nothing has to be waited for, else by ``workers``.
"""

from xenolith.backends.block.backend import BlockBackend

__all__ = ["BlockBackend"]
