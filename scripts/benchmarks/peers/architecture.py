"""The network in numbers, for peers without a MobileNetV2 of their own.

Width 1. The encoder ends with the projection of its last block. The skip connections of the decoder
start at the expansion of the blocks in `TAPS`, after ReLU6.
"""

EXPANSION = 6
# (channels, stride) of blocks 0 to 16: Table 2 of Sandler et al., 2018.
BLOCKS = (
    (16, 1), (24, 2), (24, 1), (32, 2), (32, 1), (32, 1), (64, 2), (64, 1), (64, 1), (64, 1),
    (96, 1), (96, 1), (96, 1), (160, 2), (160, 1), (160, 1), (320, 1),
)  # fmt: skip
TAPS = (1, 3, 6, 13)
DECODER = (512, 256, 128, 64)
EPSILON = 1e-3
# Share of the running statistics kept at each step: encoder, decoder.
MOMENTUM = (0.999, 0.99)
