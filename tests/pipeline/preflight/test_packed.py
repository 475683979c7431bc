"""What `plan` says of packed tars."""

import gzip

from tests.support.place import Place, tar_bytes


def test_plan_warns_of_packed_tars(tmp_path):
    place = Place(tmp_path)
    (place.pool / "0.tar.gz").write_bytes(gzip.compress(tar_bytes(["a red dog", "a blue cat"])))
    done = place.winnow("plan")
    said = " ".join((done.stdout + done.stderr).split())
    assert "1 shards (such as" in said
    assert "are packed tars: reading is slower" in said
