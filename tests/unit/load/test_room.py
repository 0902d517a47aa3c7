from pathlib import Path

from load.room import measure


def test_the_room_that_banners_take_is_measured_on_the_rings_own_files(tmp_path: Path):
    found = measure(tmp_path, products=200, banners=1_000)

    # A banner stands in the log, again in its reward, and in the state kept for corrections.
    assert found.log_bytes > 3 * found.recommended_bytes > 1_500
    assert found.kept_bytes > 300
    # 16 bytes of header, ten recent purchases, some 30 repeats of 20 bytes, the file's own.
    assert 16 + 40 + 25 * 20 < found.history_bytes < 2_000
