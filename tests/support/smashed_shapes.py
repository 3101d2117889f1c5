"""Shapes of images and of the smashed data that targets make of them."""

# Image shape and smashed-data shape: ResNet-34's cuts at 32 px, one at 224 px, odd extents, one
# channel, maps that are not square, too wide for a whole number of halvings, or not halved.
SHAPES = [
    ((3, 32, 32), (64, 16, 16)),
    ((3, 32, 32), (64, 8, 8)),
    ((3, 32, 32), (128, 4, 4)),
    ((3, 32, 32), (256, 2, 2)),
    ((3, 32, 32), (512, 1, 1)),
    ((3, 224, 224), (64, 56, 56)),
    ((3, 29, 29), (64, 8, 8)),
    ((1, 32, 32), (16, 32, 32)),
    ((1, 24, 48), (32, 6, 12)),
    ((3, 32, 32), (24, 5, 11)),
    ((3, 1, 1), (8, 1, 1)),
]
