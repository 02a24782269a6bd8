import errno
import socket
import ssl
from urllib.error import URLError

import pytest

from depth_normal.model_loader.reasons import plain_reason


def refused_certificate():
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_message = "certificate has expired"
    return error


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (URLError(socket.gaierror(-2, "Name or service not known")), "the server's name could not be looked up"),
        (URLError(ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")), "refused the connection"),
        (URLError(OSError(errno.ENETUNREACH, "Network is unreachable")), "the server cannot be reached"),
        (URLError(refused_certificate()), "not believed: certificate has expired"),
        (URLError("no host given"), "no host given"),
        (TimeoutError(), "TimeoutError"),
    ],
)
def test_why_there_was_no_answer(error, words):
    assert words in plain_reason(error)
    outer = RuntimeError("the download failed")
    outer.__cause__ = error
    assert plain_reason(outer) == plain_reason(error), "what is at the bottom counts"
    assert "Errno" not in plain_reason(error)
