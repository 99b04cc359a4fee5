"""Pictures in tar and zip archives, read one by one: nothing is extracted to a disk.

In: a file that is an archive, perhaps hostile. Out: an entry for each picture in it, in the archive's order. Damage, or
more unpacked bytes than pictures have, is an entry of its own, named as the archive, after which nothing follows.
"""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from typing import IO, TYPE_CHECKING

from ..errors import NotAPicture, TooLarge
from .entries import DAMAGE, Content, Entry, File, Names, Reading, bounded, has_suffix, too_large, until_damage

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

TAR, TAR_GZ, ZIP = (".tar",), (".tar.gz", ".tgz"), (".zip",)
# Pictures are packed already: archives of them hardly shrink, but for tar's headers. A bomb unpacks to 1,000 times.
MAX_RATIO, SMALL = 200, 2**30
MAX_HEADER = 2**16  # bytes of a tar's header that is longer than a block
READ_BYTES = 2**16
_EXTENDED = (
    tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK,
)  # fmt: skip
_ENCRYPTED = 1  # bit of a zip's flags


def tar(file: File, reading: Reading) -> Iterator[Entry]:
    """Yield the pictures of a tar archive, also of a compressed one. Each is read before the next one is asked for."""
    return until_damage(file.name, "The archive", _tar(file, reading))


def zipped(file: File, reading: Reading) -> Iterator[Entry]:
    """Yield the pictures of a zip archive. They are read while it is iterated over."""
    return until_damage(file.name, "The archive", _zipped(file, reading))


def _tar(file: File, reading: Reading) -> Iterator[Entry]:
    names = Names(file.name)
    packed = file.name.lower().endswith(TAR_GZ)
    with file.open() as raw:
        stream = gzip.GzipFile(fileobj=raw, mode="rb") if packed else raw
        counted = _Counted(stream, max(SMALL, MAX_RATIO * file.size()) if packed else None)
        with tarfile.open(fileobj=counted, mode="r|", bufsize=READ_BYTES, tarinfo=_Member) as archive:
            while (member := archive.next()) is not None:
                archive.members.clear()  # type: ignore[attr-defined]  # which would grow with each
                if member.issparse():
                    raise tarfile.ReadError("a file with holes")
                if not (member.isreg() and has_suffix(member.name)):
                    reading.passed_over += member.isreg()
                    continue
                yield Entry(names.add(member.name), _Extraction(archive, member, reading.max_bytes))


class _Member(tarfile.TarInfo):
    """A header that is refused where tarfile would end silently, or read as much as the header says."""

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> Self:
        """Return the next member; raises `ReadError` for what is no header, and for an end without its mark."""
        try:
            return super().fromtarfile(archive)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            raise
        except tarfile.EmptyHeaderError:  # type: ignore[attr-defined]
            raise tarfile.ReadError("it ends without its end mark, and may be cut off") from None
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(f"no header at byte {archive.offset:,}: {error}") from None

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        """Return the header in a block; raises `ReadError` for one that announces a large or sparse part."""
        found = super().frombuf(buf, encoding, errors)
        if found.type in _EXTENDED and found.size > MAX_HEADER:
            raise tarfile.ReadError(f"a header of {found.size:,} bytes")
        if found.type == tarfile.GNUTYPE_SPARSE or found.size < 0:
            raise tarfile.ReadError("a file with holes")
        return found


class _Extraction:
    """Reads one member, before the next one is asked for."""

    def __init__(self, archive: tarfile.TarFile, member: tarfile.TarInfo, limit: int) -> None:
        self._archive, self._member, self._limit = archive, member, limit

    def __call__(self) -> Content:
        """Return its bytes; raises an error of `DAMAGE`."""
        if self._member.size > self._limit:
            return too_large(self._member.size, self._limit)
        stream = self._archive.fileobj  # extractfile() would make two objects, for half of a small picture's time
        assert stream is not None
        stream.seek(self._member.offset_data)
        data: bytes = stream.read(self._member.size)
        if len(data) < self._member.size:
            raise tarfile.ReadError("it is cut off")
        return data


class _Counted(io.RawIOBase):
    """A stream of which at most `limit` bytes are read, and nothing behind its end."""

    def __init__(self, stream: IO[bytes] | io.RawIOBase | gzip.GzipFile, limit: int | None) -> None:
        self._stream, self._limit = stream, limit
        self._read = 0
        self._ended = False

    def read(self, size: int = -1) -> bytes:
        """Return up to `size` bytes; raises `ReadError` beyond the limit, and at the second read behind the end.

        tarfile passes a file by reading as often as its header says, at the end of the stream too.
        """
        data = self._stream.read(size)
        if not data and self._ended:
            raise tarfile.ReadError("unexpected end of data")
        self._ended = not data
        self._read += len(data)
        if self._limit is not None and self._read > self._limit:
            raise tarfile.ReadError(f"it unpacks to more than {self._limit:,} bytes, which is the limit for its size")
        return data


def _zipped(file: File, reading: Reading) -> Iterator[Entry]:
    names = Names(file.name)
    budget = limit = max(SMALL, MAX_RATIO * file.size())
    with file.open() as raw, zipfile.ZipFile(raw) as archive:
        for member in archive.infolist():
            if member.is_dir() or not has_suffix(member.filename):
                reading.passed_over += not member.is_dir()
                continue
            if member.file_size <= reading.max_bytes:
                budget -= member.file_size
            if budget < 0:
                raise zipfile.BadZipFile(f"it unpacks to more than {limit:,} bytes, which is the limit for its size")
            yield Entry(names.add(member.filename), _Inflation(archive, member, reading.max_bytes))


def count_zipped(file: File) -> int:
    """Return the number of pictures in a zip archive, as its directory has them; raises an error of `DAMAGE`."""
    with file.open() as raw, zipfile.ZipFile(raw) as archive:
        return sum(has_suffix(name) for name in archive.namelist())


class _Inflation:
    """Reads one member, as long as the archive is open."""

    def __init__(self, archive: zipfile.ZipFile, member: zipfile.ZipInfo, limit: int) -> None:
        self._archive, self._member, self._limit = archive, member, limit

    def __call__(self) -> Content:
        """Return its bytes, or the error of this member."""
        member = self._member
        if member.file_size > self._limit:
            return too_large(member.file_size, self._limit)
        if member.flag_bits & _ENCRYPTED:
            return NotAPicture("The picture is encrypted in its archive; unpack it first.")
        if member.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
            return NotAPicture("The picture is packed in its archive by another method than deflate; pack it again.")
        try:
            with self._archive.open(member) as file:
                return bounded(file.read(self._limit + 1), self._limit)
        except MemoryError:
            return TooLarge("The picture takes more memory to unpack than there is for it.")
        except DAMAGE:
            return NotAPicture("The picture is damaged in its archive, or its header there is wrong.")
