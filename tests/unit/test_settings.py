"""Settings from the environment."""

import threading
from pathlib import Path

import pytest

from imageflow import settings
from imageflow.errors import SettingsError


@pytest.mark.parametrize(("text", "days"), [(None, 30), ("", 30), ("7", 7), ("0", 0)])
def test_retention(text, days):
    """Thirty days unless said otherwise; 0 keeps everything."""
    environ = {} if text is None else {"IMAGEFLOW_RETENTION_DAYS": text}
    assert settings.load(environ).retention_days == days


@pytest.mark.parametrize("text", ["-1", "1.5", "30d", "²", "9" * 9])
def test_wrong_retention(text):
    """What is no number of days is refused by the variable's name."""
    with pytest.raises(SettingsError, match="IMAGEFLOW_RETENTION_DAYS"):
        settings.load({"IMAGEFLOW_RETENTION_DAYS": text})


def test_one_secret_key(tmp_path: Path):
    """However many ask at once for the generated key, all get the same, whole; it is readable by its owner alone."""
    loaded = settings.load({"IMAGEFLOW_DATA_DIR": str(tmp_path / "data")})
    found: list[bytes] = []
    threads = [threading.Thread(target=lambda: found.append(settings.secret_key(loaded))) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 20
    assert len(set(found)) == 1
    assert len(found[0]) > 30
    (path,) = (tmp_path / "data").iterdir()
    assert path.stat().st_mode & 0o777 == 0o600
