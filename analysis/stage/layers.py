"""Layers that several stages use."""

# One of the encoder's last at 1/16 of the input size, and one of the decoder at 1/8.
DEEP, FINE = 'encoder/block_13_expand_relu', 'decoder/up_2_relu'
DEEPEST = 'encoder/block_16_project'  # the encoder's last, at 1/32 of the input size
GRID = 32  # cells per side that maps are kept and compared on, less in smaller images
