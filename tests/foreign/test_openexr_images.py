"""Every EXR of OpenEXR's own sources: light as its Python reader gives it, or an error of ours."""

import numpy as np
import pytest

from depth_normal.geometry.files.hdr_images import read_hdr
from depth_normal.geometry.files.paths import FileFormatError
from tests.foreign.tables import table_of, write_if_asked

pytestmark = [pytest.mark.foreign, pytest.mark.filterwarnings("ignore")]


def by_openexr(path):
    """(H, W, 3) of the first part's RGB, in its data window; None if it has none, or shows something else than all of it."""
    import OpenEXR

    try:
        with OpenEXR.File(str(path), header_only=False) as file:
            header, channels = file.parts[0].header, file.parts[0].channels
            windows = [header[name] for name in ("dataWindow", "displayWindow")]
            colours = next((channels[name].pixels for name in ("RGB", "RGBA") if name in channels), None)
    except Exception:  # noqa: BLE001  damaged files raise any kind
        return None
    same = np.array_equal(np.array(windows[0]), np.array(windows[1]))
    return None if colours is None or not same else colours[..., :3].astype(np.float32)


def test_exr_files_are_read_as_openexr_reads_them_or_refused_in_our_words(foreign):
    paths = sorted((foreign / "sources").glob("openexr-*/**/*.exr"))
    assert len(paths) > 50
    refused, compared = {}, 0
    for path in paths:
        try:
            light, _ = read_hdr(path, path.read_bytes())
        except FileFormatError as error:
            refused[path.name] = str(error).replace(f"{path}: ", "")
            continue
        theirs = by_openexr(path)
        if theirs is not None:
            compared += 1
            np.testing.assert_allclose(light, theirs, rtol=1e-6, err_msg=path.name)
    assert compared > 10
    write_if_asked("openexr", refused)
    assert refused == table_of("openexr")
