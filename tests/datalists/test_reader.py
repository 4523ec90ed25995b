# SPDX-License-Identifier: Apache-2.0
"""How a datalist is opened, for every use; what pre-training makes of it is tested in `test_folder`."""

from __future__ import annotations

import pytest

from universal_model_components.datalists.reader import check_keys, entries_of, open_datalist


def test_a_datalist_is_read_as_it_is(tmp_path):
    file = tmp_path / "datalist.json"
    file.write_text('{"name": "Übung", "training": [{"image": "a.nii"}], "test": null}', encoding="utf-8")
    content = open_datalist(file)
    assert content == {"name": "Übung", "training": [{"image": "a.nii"}], "test": None}
    assert entries_of(content, file, "training") == [{"image": "a.nii"}]
    assert entries_of(content, file, "test") == entries_of(content, file, "validation") == []
    with pytest.raises(ValueError, match=r"^datalist: .*datalist\.json: 'name' is not a list"):
        entries_of(content, file, "name")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"^datalist: cannot read .*\(.*No such file.*\): give a MONAI datalist"),
        (b"{", r"^datalist: cannot read .*\(Expecting"),
        (b'{"training": "\xff"}', r"^datalist: cannot read .*codec can't decode"),
        (b"[" * 100000, r"^datalist: cannot read .*\(maximum recursion"),
        (b"[]", r"^datalist: .*datalist\.json holds list, expected a mapping of lists"),
    ],
)
def test_what_is_no_datalist_is_named(content, message, tmp_path):
    if content is not None:
        (tmp_path / "datalist.json").write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        open_datalist(tmp_path / "datalist.json")
    assert "\n" not in str(caught.value)


def test_keys_that_are_missing_are_named():
    check_keys("training[0]", {"image": "a", "label": 1}, ("image", "label"))
    with pytest.raises(ValueError, match=r"^training\[0\] has no 'label' \(found \['image'\]\): add it"):
        check_keys("training[0]", {"image": "a"}, ("image", "label"))
    with pytest.raises(ValueError, match=r"^training\[1\] is 'a\.nii', expected a mapping with \['image'\]"):
        check_keys("training[1]", "a.nii", ("image",))
    with pytest.raises(ValueError, match=r"^training\[1\] is \[\{.*\}\], expected a mapping"):
        check_keys("training[1]", [{"image": "a"}], ("image",))


@pytest.mark.parametrize("value", [None, 1.5, [], ["a.nii"], {"a": 1}, ""])
@pytest.mark.parametrize("key", ["image", "case", "group"])
def test_entries_of_the_wrong_type_are_named(key, value):
    entry = {"image": "a.nii", "case": 7, "group": "b"}
    check_keys("training[0]", entry, ("image",))
    with pytest.raises(ValueError, match=rf"^training\[0\]: {key} is .*, expected a (path|name): correct it$"):
        check_keys("training[0]", {**entry, key: value}, ("image",))
