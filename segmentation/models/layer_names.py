"""The layers whose activations describe an image, as patterns of their names."""

# Not the inputs of batch normalization: once standardized, their means are the same features as
# those of its outputs.
LAYERS = (
    'encoder/*_relu',
    'encoder/*_project_BN',
    'encoder/block_16_project',
    'decoder/*_relu',
    'decoder/logits',
)
