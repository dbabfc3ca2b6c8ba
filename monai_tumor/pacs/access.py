"""How a PACS is spoken to: our own name, TLS, patience, password."""

import ssl
from dataclasses import dataclass, field
from pathlib import Path

from monai_tumor.errors import DependencyError, InputError, PacsError
from monai_tumor.pacs.address import checked_title


@dataclass(frozen=True)
class Tls:
    """Files of PEM for encrypted connections.

    Attributes:
        ca: certificates that the other side is checked against; for a client None means those of
            the system, for a receiver that callers need no certificate.
        certificate: our own, with its chain; a receiver needs one.
        key: of our certificate, where that file does not hold it.
    """

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    def client(self) -> ssl.SSLContext:
        """For calling; the other side's certificate and host name are checked.

        Raises:
            InputError: a file cannot be used.
        """
        context = ssl.create_default_context()
        if self.ca is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        return self._filled(context)

    def server(self) -> ssl.SSLContext:
        """For being called; with `ca`, callers without a certificate of it are turned away.

        Raises:
            InputError: a file cannot be used, or there is no certificate.
        """
        if self.certificate is None:
            raise InputError("A receiver with TLS needs a certificate: --tls-cert and --tls-key.")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        if self.ca is not None:
            context.verify_mode = ssl.CERT_REQUIRED
        return self._filled(context)

    def _filled(self, context: ssl.SSLContext) -> ssl.SSLContext:
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            if self.ca is not None:
                context.load_verify_locations(self.ca)
            if self.certificate is not None:
                # The empty password makes an encrypted key an error in place of a question.
                context.load_cert_chain(self.certificate, self.key, password="")
        except OSError as error:  # ssl.SSLError among them
            raise InputError(
                f"The TLS files cannot be used: {error}. Give PEM files; the key unencrypted and "
                "of that certificate."
            ) from error
        return context


@dataclass(frozen=True)
class Access:
    """How a PACS is spoken to.

    Attributes:
        title: our AE title.
        tls: None for the DICOM protocol in the clear; for https the system's certificates.
        timeout: seconds without an answer after which we give up.
        user: of a DICOMweb service that asks for one.
        password: theirs.
    """

    title: str = "MONAI_TUMOR"
    tls: Tls | None = None
    timeout: float = 30.0
    user: str | None = None
    password: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        """Check title and timeout.

        Raises:
            InputError: no such title, or a timeout that is not above 0.
        """
        checked_title(self.title)
        if not self.timeout > 0:
            raise InputError(f"A timeout of {self.timeout} s is none; give one above 0.")


def require_packages() -> None:
    """Do nothing where the extra is installed.

    Raises:
        DependencyError: it is not.
    """
    try:
        import dicomweb_client  # noqa: F401
        import pynetdicom  # noqa: F401
    except ImportError as error:
        raise DependencyError(
            "Talking to a PACS needs pynetdicom and dicomweb-client: "
            "pip install 'monai-tumor[pacs]'."
        ) from error


def one_line(problem: object) -> str:
    """What another side or library says, as printable text of one line, at most 300 characters."""
    text = " ".join(str(problem).split())
    if not text and isinstance(problem, BaseException):
        return type(problem).__name__
    return "".join(c if c.isprintable() else "?" for c in text)[:300]


def failure(message: object) -> PacsError:
    """The error with that message, on one line."""
    return PacsError("".join(c if c.isprintable() else "?" for c in str(message)))
