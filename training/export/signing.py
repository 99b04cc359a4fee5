"""Sign model versions with a private key, in the format of OpenSSF Model Signing: `models/<name>/<number>.sig`.

In: a private key of P-256, P-384 or P-521 in PEM, and the folder of a version, or the files of one that is about to
appear. Out: the signature beside the folder, whole or absent. It covers every file in the folder. An encrypted key is
read with the password in MNIST_SIGNING_PASSWORD. It does not know who verifies.

    python -m training sign models/mnist-mlp/101 --key private.pem
"""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from .. import files
from ..errors import UsageError
from ..optional import require
from .choice import FILES, NUMBER

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

HELP = "sign versions, so that services that have the public key serve them"
PASSWORD: Final = "MNIST_SIGNING_PASSWORD"  # noqa: S105 - the name of a variable
EXPECTED: Final = "expected a private key of P-256, P-384 or P-521 in PEM"


def signature_path(version: Path) -> Path:
    """Return the path of a version's signature, beside its folder."""
    return version.with_name(f"{version.name}.sig")


class Signer:
    """A private key, read once."""

    def __init__(self, key: Path) -> None:
        """Read a key; raises `UsageError`."""
        require("a signature", "signing", "model_signing.signing")
        from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415 - of the extra
        from model_signing import signing  # noqa: PLC0415

        password = os.environ.get(PASSWORD)
        try:
            # The library hands the password on to cryptography, which takes bytes.
            self._config = signing.Config().use_elliptic_key_signer(
                private_key=key,
                password=password.encode() if password else None,
            )
        except OSError as error:
            raise UsageError(f"{key}: {EXPECTED}, found {error.strerror}") from error
        except TypeError as error:  # with a password where there is none to give, or without one
            found = "one without a password, and the variable is set" if password else "an encrypted one"
            raise UsageError(
                f"{key}: {EXPECTED} and, if it is encrypted, its password in {PASSWORD}, found {found}"
            ) from error
        except AttributeError as error:  # the library asks every key for its curve
            raise UsageError(f"{key}: {EXPECTED}, found one of another kind") from error
        except (ValueError, UnsupportedAlgorithm) as error:
            raise UsageError(f"{key}: {EXPECTED}, found {' '.join(str(error).split())[:160]}") from error

    def sign_folder(self, folder: Path) -> bytes:
        """Return a signature of the files in a folder as they are now; raises `UsageError` for links and pipes."""
        with tempfile.TemporaryDirectory() as temporary:
            path = Path(temporary) / "signature"
            try:
                self._config.sign(folder, path)
            except ValueError as error:
                raise UsageError(f"{folder} cannot be signed: {error}") from error
            return path.read_bytes()

    def sign_files(self, number: int, contents: Mapping[str, bytes]) -> bytes:
        """Return a signature of the files of a version that is not published yet, by name.

        They are signed in a folder that only this user may write to, and not where the version will be.
        """
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary) / str(number)
            folder.mkdir()
            for name, content in contents.items():
                (folder / name).write_bytes(content)
            return self.sign_folder(folder)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the versions and the key."""
    parser.add_argument("versions", type=Path, nargs="+", metavar="VERSION", help="folder of a model version")
    parser.add_argument(
        "--key", type=Path, required=True, metavar="FILE", help=f"private key (PEM); its password: {PASSWORD}"
    )


def run(given: dict[str, Any]) -> None:
    """Sign each version; raises `UsageError` before it signs one if another is none."""
    versions = [version.resolve() for version in given["versions"]]
    for version in versions:
        missing = [name for name in FILES if not (version / name).is_file()]
        if missing or not re.fullmatch(NUMBER, version.name):
            raise UsageError(
                f"{version}: expected a version's folder, such as models/mnist-mlp/101, with {', '.join(FILES)}"
            )
    signer = Signer(given["key"])
    for version in versions:
        files.replace(signature_path(version), signer.sign_folder(version))
        print(f"{signature_path(version)} is the signature of version {version.name}")
