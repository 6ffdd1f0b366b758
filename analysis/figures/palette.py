"""The colors of all figures, distinguishable for color-blind people."""

# Okabe and Ito 2008.
BLACK, ORANGE, SKY, GREEN = '#000000', '#E69F00', '#56B4E9', '#009E73'
YELLOW, BLUE, VERMILLION, PURPLE = '#F0E442', '#0072B2', '#D55E00', '#CC79A7'
GRAY = '#888888'

# Groups in their order; the last is a darker yellow, which is readable on white.
GROUPS = (BLUE, ORANGE, GREEN, VERMILLION, PURPLE, SKY, BLACK, '#B8A800')

# Errors of a prediction: an object called background, the reverse, one class called another. Unlike
# the colors of the first classes (after Tol 2021).
ERRORS = {'missed': '#EE3377', 'invented': '#009988', 'confused': YELLOW}

# Signed maps: evidence for and against.
FOR, AGAINST = '#E66101', '#5E3C99'


def rgb(color: str) -> tuple[int, int, int]:
    """Red, green and blue of '#RRGGBB', 0 to 255."""
    red, green, blue = bytes.fromhex(color[1:])
    return red, green, blue
