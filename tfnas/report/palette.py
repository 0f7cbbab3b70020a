"""The colours and the matplotlib style that page and plots share."""

from typing import Any

SEARCHED = "#2563eb"
RANDOM = "#d97706"
OTHER = "#0f766e"
INK = "#0f172a"
SOFT = "#475569"
PALE = "#cbd5e1"
STRIDE = "#dc2626"
PHASES = {
    "weights": "#0ea5e9",
    "arch": "#7c3aed",
    "valid": "#059669",
    "train": "#0ea5e9",
    "test": "#059669",
}
EPOCHS = "viridis"
TARGET_LINE: dict[str, Any] = {
    "color": "#94a3b8",
    "linestyle": (0, (4, 3)),
    "linewidth": 1.2,
    "zorder": 1,
}
# Light to dark with the kernel, and the colour of text on it.
KERNELS = {
    1: ("#e2e8f0", INK),
    3: ("#bfdbfe", INK),
    5: ("#60a5fa", INK),
    7: ("#1d4ed8", "white"),
}
NO_KERNEL = ("#fde68a", INK)

STYLE: Any = {
    "font.size": 9.0,
    "text.color": INK,
    # Names come from files: a dollar sign in them is no formula.
    "text.parse_math": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#94a3b8",
    "axes.labelcolor": "#334155",
    "axes.titlesize": 10.0,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e2e8f0",
    "grid.linewidth": 0.8,
    "xtick.color": "#475569",
    "ytick.color": "#475569",
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.6,
}


def role(name: str) -> str:
    """Returns the colour of a network's role."""
    return {"searched": SEARCHED, "random": RANDOM}.get(name, OTHER)
