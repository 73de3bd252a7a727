r"""Formulas for a terminal: LaTeX as docstrings write it becomes a line of plain characters.

It knows the LaTeX that a method's docstring needs, not all of it; an unknown command loses its backslash.
"""

# ruff: noqa: RUF001  (mathematical characters)

from __future__ import annotations

import re

GREEK = dict(
    zip(
        [
            "alpha",
            "beta",
            "gamma",
            "delta",
            "epsilon",
            "zeta",
            "eta",
            "theta",
            "kappa",
            "lambda",
            "mu",
            "nu",
            "xi",
            "pi",
            "rho",
            "sigma",
            "tau",
            "phi",
            "chi",
            "psi",
            "omega",
            "Gamma",
            "Delta",
            "Theta",
            "Lambda",
            "Pi",
            "Sigma",
            "Phi",
            "Psi",
            "Omega",
        ],
        "αβγδεζηθκλμνξπρστφχψωΓΔΘΛΠΣΦΨΩ",
        strict=True,
    )
)
SYMBOLS = GREEK | {
    "varepsilon": "ε",
    "vartheta": "θ",
    "varphi": "φ",
    "ell": "ℓ",
    "sum": "Σ",
    "prod": "Π",
    "partial": "∂",
    "nabla": "∇",
    "infty": "∞",
    "cdot": "·",
    "times": "×",
    "odot": "⊙",
    "circ": "∘",
    "pm": "±",
    "le": "≤",
    "leq": "≤",
    "ge": "≥",
    "geq": "≥",
    "ne": "≠",
    "neq": "≠",
    "ll": "≪",
    "gg": "≫",
    "approx": "≈",
    "sim": "~",
    "propto": "∝",
    "equiv": "≡",
    "in": "∈",
    "notin": "∉",
    "subset": "⊂",
    "cup": "∪",
    "cap": "∩",
    "forall": "∀",
    "exists": "∃",
    "leftarrow": "←",
    "gets": "←",
    "rightarrow": "→",
    "to": "→",
    "Rightarrow": "⇒",
    "mapsto": "↦",
    "mid": "|",
    "vert": "|",
    "lvert": "|",
    "rvert": "|",
    "lVert": "‖",
    "rVert": "‖",
    "Vert": "‖",
    "|": "‖",
    "langle": "⟨",
    "rangle": "⟩",
    "lfloor": "⌊",
    "rfloor": "⌋",
    "lceil": "⌈",
    "rceil": "⌉",
    "dots": "…",
    "ldots": "…",
    "cdots": "…",
    "top": "ᵀ",
    "prime": "′",
    "{": "{",
    "}": "}",
    "%": "%",
    "_": "_",
    "&": "&",
    "#": "#",
    ",": " ",
    ";": " ",
    ":": " ",
    " ": " ",
    "!": "",
    "quad": "   ",
    "qquad": "   ",
    "\\": "\n",
}
SPACED = frozenset(
    ["≤", "≥", "≠", "≪", "≫", "≈", "~", "∝", "≡", "∈", "∉", "⊂", "←", "→", "⇒", "↦", "±", "×"]
)  # symbols that stand between two terms
FUNCTIONS = frozenset(
    [
        "log",
        "exp",
        "max",
        "min",
        "arg",
        "cos",
        "sin",
        "tanh",
        "det",
        "tr",
        "sup",
        "inf",
        "softmax",
        "sg",
    ]
)
SIZES = frozenset(
    [
        "left",
        "right",
        "bigl",
        "bigr",
        "Bigl",
        "Bigr",
        "biggl",
        "biggr",
        "Biggl",
        "Biggr",
        "big",
        "Big",
        "bigg",
        "Bigg",
        "limits",
        "nolimits",
        "displaystyle",
        "textstyle",
    ]
)
STYLES = frozenset(
    [
        "mathrm",
        "mathbf",
        "mathit",
        "mathcal",
        "mathbb",
        "mathop",
        "mathsf",
        "boldsymbol",
        "text",
        "textrm",
        "textit",
        "textbf",
        "operatorname",
        "mbox",
    ]
)
ACCENTS = {"hat": "\u0302", "bar": "\u0304", "tilde": "\u0303", "dot": "\u0307", "vec": "\u20d7"}
SUBSCRIPTS = dict(
    zip("0123456789+-=()aehijklmnoprstuvx", "₀₁₂₃₄₅₆₇₈₉₊₋₌₍₎ₐₑₕᵢⱼₖₗₘₙₒₚᵣₛₜᵤᵥₓ", strict=True)
)
SUPERSCRIPTS = dict(zip("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹", strict=True)) | {"ᵀ": "ᵀ", "′": "′", "*": "*"}
CLOSE = ("∂", "∇", "‖", "⟨", "⌊", "⌈")  # no space follows
TOKEN = re.compile(r"\\[a-zA-Z]+|\\.|[{}_^&~]|\s+|[^\\{}_^&~\s]", re.DOTALL)


def plain_formula(latex: str) -> str:
    r"""Return a formula as plain characters.

    Args:
        latex: The formula, without dollar signs.

    Returns:
        One line, or several where the formula has line breaks.

    Example:
        >>> plain_formula(r"\sum_t a_t e^{-s_t} L_t, \qquad s_t = \log\sigma_t^2")
        'Σₜ aₜ e^(-sₜ) Lₜ, sₜ = log σₜ²'
    """
    tokens = [" " if token.isspace() else token for token in TOKEN.findall(latex.strip())]
    text = _sequence(tokens)
    lines = [" ".join(line.split()) for line in text.split("\n")]
    lines = [re.sub(r"\s+([,.;)\]])", r"\1", re.sub(r"([(\[])\s+", r"\1", line)) for line in lines]
    return "\n".join(line for line in lines if line)


def _sequence(tokens: list[str]) -> str:
    """Return the text of the tokens up to the end or a closing brace, which is taken too."""
    text = ""
    while tokens:
        if tokens[0] == "}":
            tokens.pop(0)
            break
        text = _joined(text, *_atom(tokens))
    return text


def _joined(text: str, atom: str, script: str) -> str:
    """Return the text with one more atom, or with a subscript or superscript to its end."""
    if not script or not atom.strip():
        return text + atom
    table = SUBSCRIPTS if script == "_" else SUPERSCRIPTS
    atom = atom.strip()
    text = text.rstrip()
    if atom and all(character in table for character in atom):
        return text + "".join(table[character] for character in atom) + _gap(text)
    bracketed = len(atom) == 1 or re.fullmatch(r"\([^()]*\)", atom)
    return f"{text}{script}{atom if bracketed else f'({atom})'}{_gap(text)}"


def _gap(text: str) -> str:
    """Return a space after the index of a sum, a product or a function such as max."""
    word = re.search(r"[A-Za-z]+$", text)
    return " " if text.endswith(("Σ", "Π")) or (word and word.group() in FUNCTIONS) else ""


def _atom(tokens: list[str]) -> tuple[str, str]:
    """Take one atom off the tokens; with ``_`` or ``^`` if it is a subscript or superscript."""
    token = tokens.pop(0)
    if token in ("_", "^"):
        return _argument(tokens), token
    if token == "{":
        return _sequence(tokens), ""
    if token in ("&", "~"):
        return " ", ""
    if token == "=":
        return " = ", ""
    if not token.startswith("\\"):
        return token, ""
    return _command(token[1:], tokens), ""


def _argument(tokens: list[str]) -> str:
    while tokens and tokens[0] == " ":
        tokens.pop(0)
    return _atom(tokens)[0] if tokens else ""


def _command(name: str, tokens: list[str]) -> str:
    if name in SIZES:
        if tokens and tokens[0] == ".":  # \right. closes nothing
            tokens.pop(0)
        return ""
    if name in ("begin", "end"):  # of aligned, cases: rows and cells are enough
        _argument(tokens)
        return ""
    if name in ("frac", "tfrac", "dfrac"):
        above, below = _argument(tokens), _argument(tokens)
        return f"{_grouped(above)}/{_grouped(below)}"
    if name == "sqrt":
        return f"√{_grouped(_argument(tokens))}"
    if name in STYLES:
        text = _argument(tokens)
        return f"{text} " if text in FUNCTIONS and not _opens(tokens) else text
    if name in ACCENTS:
        text = _argument(tokens).strip()
        return text + ACCENTS[name] if len(text) == 1 else f"{name}({text})"
    if name == "overline":
        text = _argument(tokens).strip()
        return text + ACCENTS["bar"] if len(text) == 1 else f"mean({text})"
    if name in FUNCTIONS:
        return name if _opens(tokens) else f"{name} "
    symbol = SYMBOLS.get(name, name)
    if symbol in CLOSE and tokens and tokens[0] == " ":
        tokens.pop(0)
    return f" {symbol} " if symbol in SPACED else symbol


def _opens(tokens: list[str]) -> bool:
    """Return whether a bracket, a subscript or a superscript follows."""
    following = next(
        (t for t in tokens if t != " " and t.lstrip("\\") not in SIZES | {"!", ","}), ""
    )
    return following in ("_", "^", "(", "[", "\\{")


def _grouped(text: str) -> str:
    """Return the text in brackets, unless it is one term."""
    text = text.strip()
    return (
        text
        if re.fullmatch(r"[\w∂∇\u0300-\u036f]+(\([^()]*\)|\[[^\[\]]*\])?", text)
        else f"({text})"
    )
