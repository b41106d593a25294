"""The Network Block Device: a server of any image of ours, and a client that is an image.

Speaks fixed newstyle NBD as doc/proto.md of https://github.com/NetworkBlockDevice/nbd defines it.
"""
