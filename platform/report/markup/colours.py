"""The colours of pages and charts."""

#: Name of a colour -> (on light paper, on dark paper). Text reaches a contrast of 4.5 on its
#: paper, lines and areas of charts 3.
COLOURS = {
    "paper": ("#ffffff", "#14171b"),
    "ink": ("#1b1f24", "#e4e8ed"),
    "muted": ("#57606b", "#9ba6b3"),
    "line": ("#d4dae1", "#353c45"),
    "shade": ("#f3f5f8", "#1d2127"),
    "s1": ("#1f6cb4", "#62adef"),
    "s2": ("#c2560f", "#f2955a"),
    "s3": ("#22824f", "#5cc48e"),
    "s4": ("#7d4fb0", "#b691e3"),
    "s5": ("#b8324f", "#ee7d95"),
    "s6": ("#7a6a12", "#cdb94c"),
}
