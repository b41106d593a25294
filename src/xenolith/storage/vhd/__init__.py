"""Microsoft's VHD format: fixed, dynamic and differencing images, and chains of them."""
