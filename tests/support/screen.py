"""A terminal as a person sees it, after everything that was written to it."""

from __future__ import annotations

import fcntl
import os
import re
import struct
import termios
import threading

COLUMNS = 140


def shown(text: str) -> list[str]:
    r"""Return the lines of a terminal; what was written over is gone.

    Example:
        >>> shown("one\r\n 50%|#  |\rtwo      \r\n\x1b[Athree")
        ['one', 'three']
    """
    lines, row, column = [""], 0, 0
    for sign in re.findall(r"\x1b\[A|\r|\n|.", text):
        if sign == "\x1b[A":
            row = max(0, row - 1)
        elif sign == "\r":
            column = 0
        elif sign == "\n":
            row += 1
            lines += [""] * (row + 1 - len(lines))
        else:
            line = lines[row].ljust(column)
            lines[row] = line[:column] + sign + line[column + 1 :]
            column += 1
    return [line.rstrip() for line in lines if line.strip()]


class Terminal:
    """A terminal that keeps all that is written to it.

    Attributes:
        path: The path of the device that a program writes to.
    """

    def __init__(self) -> None:
        self._test_end, self._program_end = os.openpty()
        size = struct.pack("HHHH", 50, COLUMNS, 0, 0)
        fcntl.ioctl(self._program_end, termios.TIOCSWINSZ, size)
        self.path = os.ttyname(self._program_end)
        self._written = b""
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def close(self) -> str:
        """Return what was written."""
        os.close(self._program_end)
        self._reader.join()
        os.close(self._test_end)
        return self._written.decode()

    def _read(self) -> None:
        while True:
            try:
                self._written += os.read(self._test_end, 1 << 16)
            except OSError:
                return
