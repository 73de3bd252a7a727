"""Files that wait for the disk together: one after the other, most of the time would be waiting.

A file of a group gets its name only when its content is on the disk, like all files of
:func:`mtl_runner.files.atomic_file`; the group waits for all of them at once.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

# A journal commits what many threads wait for in one go.
THREADS = 16
_NO_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EACCES, errno.EPERM)


class WriteGroup:
    """Files that are written in :func:`written_together`, each for an owner.

    Attributes:
        failed: The error of each owner whose files could not be brought to the disk, known when
            the context has ended. None of its new files has got its name.
    """

    def __init__(self) -> None:
        self.failed: dict[Hashable, OSError] = {}
        self._owner: Hashable = None
        self._renames: dict[Hashable, list[tuple[Path, Path]]] = defaultdict(list)
        self._appended: dict[Hashable, list[Path]] = defaultdict(list)
        self._actions: dict[Hashable, list[Callable[[], None]]] = defaultdict(list)

    @contextlib.contextmanager
    def owned_by(self, owner: Hashable) -> Iterator[None]:
        """Count what is written in the context among the files of an owner.

        Args:
            owner: What :attr:`failed` names if they cannot be written, such as the number of a run.
        """
        before, self._owner = self._owner, owner
        try:
            yield
        finally:
            self._owner = before

    def rename_later(self, temporary: Path, path: Path) -> None:
        """Give a written file its name when its content is on the disk.

        Args:
            temporary: The file under its temporary name, closed.
            path: Its name; an existing file is replaced.
        """
        self._renames[self._owner].append((temporary, path))

    def sync_later(self, path: Path) -> None:
        """Wait at the end until what was appended to a file is on the disk."""
        self._appended[self._owner].append(path)

    def act_later(self, action: Callable[[], None]) -> None:
        """Do something once all files of the owner have their names."""
        self._actions[self._owner].append(action)

    def commit(self) -> None:
        """Bring everything to the disk, and give the files their names, in order."""
        with ThreadPoolExecutor(THREADS) as threads:
            files = [
                *(
                    (owner, temporary)
                    for owner, pairs in self._renames.items()
                    for temporary, _ in pairs
                ),
                *((owner, path) for owner, paths in self._appended.items() for path in paths),
            ]
            self._each(threads, sync_file, files)
            folders: dict[tuple[Hashable, Path], None] = {}
            for owner, pairs in self._renames.items():
                for temporary, path in pairs:
                    if owner not in self.failed:
                        self._try(owner, path, partial(temporary.replace, path))
                        folders[owner, path.parent] = None
            self._each(threads, sync_directory, list(folders))
        self.discard()
        for owner, actions in self._actions.items():
            for action in actions:
                if owner not in self.failed:
                    action()

    def discard(self) -> None:
        """Remove the files that have not got their names."""
        for pairs in self._renames.values():
            for temporary, _ in pairs:
                with contextlib.suppress(OSError):
                    temporary.unlink()

    def _each(
        self,
        threads: ThreadPoolExecutor,
        function: Callable[[Path], None],
        paths: Iterable[tuple[Hashable, Path]],
    ) -> None:
        """Call a function with many paths at once, and keep the errors of their owners."""
        for (owner, path), future in [(pair, threads.submit(function, pair[1])) for pair in paths]:
            self._try(owner, path, future.result)

    def _try(self, owner: Hashable, path: Path, function: Callable[[], object]) -> None:
        """Call a function, and keep the first error of the owner."""
        try:
            function()
        except OSError as error:
            error.filename, error.filename2 = str(path), None
            self.failed.setdefault(owner, error)


_groups: list[WriteGroup] = []


def current_group() -> WriteGroup | None:
    """Return the group of the innermost :func:`written_together`; None outside of all."""
    return _groups[-1] if _groups else None


@contextlib.contextmanager
def written_together() -> Iterator[WriteGroup]:
    """Give the files that are written in the context their names together, at its end.

    If something is raised in it, none of them gets its name.

    Example:
        >>> import tempfile
        >>> from mtl_runner.files import write_atomic
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "a.txt"
        ...     with written_together() as group:
        ...         with group.owned_by("run 1"):
        ...             write_atomic(path, b"one")
        ...         print(path.exists())
        ...     path.read_text(), group.failed
        False
        ('one', {})
    """
    group = WriteGroup()
    _groups.append(group)
    try:
        yield group
    except BaseException:
        group.discard()
        raise
    finally:
        _groups.remove(group)
    group.commit()


def once_written(action: Callable[[], None]) -> None:
    """Do something when the files that were written before are on the disk: now, or with the group.

    Args:
        action: What is to be done, such as to remove what they replace.
    """
    group = current_group()
    if group is None:
        action()
    else:
        group.act_later(action)


def sync_file(path: Path) -> None:
    """Wait until the content of a file is on the disk.

    Raises:
        OSError: If the disk reports an error.
    """
    descriptor = os.open(path, os.O_RDWR)  # Windows syncs no file that is open for reading
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_directory(folder: Path) -> None:
    """Wait until the names in a folder are on the disk: a rename alone can be lost with the power.

    Raises:
        OSError: If the disk reports an error; a file system without this ability is no error.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return  # a folder that may be written but not read, and every folder on Windows
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise
    finally:
        os.close(descriptor)
