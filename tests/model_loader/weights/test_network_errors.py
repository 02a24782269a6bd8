import errno
import socket
import ssl

import pytest
import requests
from urllib3.exceptions import MaxRetryError, NewConnectionError, ProxyError, SSLError

from depth_normal.model_loader.weights.network import NetworkError, plain_reason


def refused_certificate():
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_message = "certificate has expired"
    return error


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (socket.gaierror(-2, "Name or service not known"), "the server's name could not be looked up"),
        (ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"), "refused the connection"),
        (OSError(errno.ENETUNREACH, "Network is unreachable"), "the server cannot be reached"),
        (refused_certificate(), "not trusted: certificate has expired"),
        (NetworkError("no answer"), "no answer"),
        (TimeoutError(), "TimeoutError"),
    ],
)
def test_why_there_was_no_answer(error, words):
    assert words in plain_reason(error)
    assert "Errno" not in plain_reason(error)
    outer = RuntimeError("the download failed")
    outer.__cause__ = error
    assert plain_reason(outer) == plain_reason(error), "what is at the bottom counts"
    for library in (NewConnectionError(None, "no connection"), SSLError(error), ProxyError("no proxy", error)):
        if isinstance(library, NewConnectionError):
            library.__context__ = error
        handed_on = requests.ConnectionError(MaxRetryError(None, "/", library))
        handed_on.__context__ = handed_on.args[0]
        handed_on.args[0].__cause__ = library
        assert plain_reason(handed_on) == plain_reason(error)
