"""Names of parameters that pytket's JSON and OpenQASM cannot write, escaped so that reading restores them.

`t[0]` becomes `t_u005b_0_u005d_`: a character is written as `_u`, its code point in hexadecimal,
`_`. A name that already looks escaped has its underscore escaped in turn.
"""

from __future__ import annotations

import keyword
import re
from typing import Final

_ESCAPED: Final = re.compile(r"_u([0-9a-f]{4,6})_")
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9_]")
_SYMENGINE_WORDS: Final = (
    "pi Pi PI E e I i oo inf Inf zoo nan NaN EulerGamma Catalan GoldenRatio True False true false sin "
    "cos tan cot csc sec asin acos atan acsc asec acot sinh cosh tanh sech csch coth asinh acosh atanh "
    "asech acsch acoth atan2 exp log ln sqrt cbrt abs Abs sign floor ceiling conjugate gamma loggamma "
    "lambertw erf erfc zeta beta min max Min Max mod Mod And Or Not Xor Eq Ne Ge Gt Le Lt Piecewise "
    "primepi primorial dirichlet_eta lowergamma uppergamma polygamma kronecker_delta levi_civita"
)
_SYMENGINE: Final = frozenset(_SYMENGINE_WORDS.split())
"""What symengine's parser reads as a number, a function or a constant."""


def _escape(text: str) -> str:
    return "".join(f"_u{ord(each):04x}_" for each in text)


def encode_for_pytket(name: str) -> str:
    """A symbol name that pytket's JSON can hold.

    >>> encode_for_pytket("theta"), encode_for_pytket("pi")
    ('theta', '_u0070_i')
    """
    safe = _ESCAPED.sub(lambda found: _escape("_") + found[0][1:], name)
    safe = _UNSAFE.sub(lambda found: _escape(found[0]), safe)
    if name in _SYMENGINE or safe[:1].isdigit() or keyword.iskeyword(name):
        safe = _escape(safe[:1]) + safe[1:]
    return safe


def decode(name: str) -> str:
    """The name that was escaped; a name that was not is returned as it is.

    >>> decode("t_u005b_0_u005d_")
    't[0]'
    """

    def character(found: re.Match[str]) -> str:
        point = int(found[1], 16)
        return chr(point) if point <= 0x10FFFF else found[0]

    return _ESCAPED.sub(character, name)
