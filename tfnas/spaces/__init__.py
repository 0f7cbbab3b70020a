"""Search spaces: data that says which networks there are."""

from tfnas.spaces import accel_nasbench as _accel_nasbench  # noqa: F401
from tfnas.spaces import autospace as _autospace  # noqa: F401
from tfnas.spaces import candidates as _candidates  # noqa: F401
from tfnas.spaces import dag as _dag  # noqa: F401
from tfnas.spaces import dense as _dense  # noqa: F401
from tfnas.spaces import elastic as _elastic  # noqa: F401
from tfnas.spaces import nasbench201 as _nasbench201  # noqa: F401
from tfnas.spaces import nasbench_macro as _nasbench_macro  # noqa: F401
from tfnas.spaces import recurrent as _recurrent  # noqa: F401
from tfnas.spaces.base import Space
from tfnas.spaces.base import get
from tfnas.spaces.base import names

__all__ = ["Space", "get", "names"]
