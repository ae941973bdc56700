"""Result folders: their names, and the settings files that are read again."""

import pytest

from accompgen_hf.app.result_folders import make_new_folder, read_settings, result_name


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "must hold one JSON object, got list"),
        ("{", "cannot be read as JSON"),
        ('{"tempo": 90}', "unknown key 'tempo', allowed are vocals, model"),
        ('{"seed": 1.5}', "'seed' must be int, got 1.5"),
        ('{"seed": true}', "'seed' must be int, got True"),
        ('{"preview": 1}', "'preview' must be bool, got 1"),
        ('{"temperature": NaN}', "'temperature' must be int or float, got nan"),
    ],
)
def test_a_wrong_settings_file_names_key_and_cure(tmp_path, text, message):
    path = tmp_path / "settings.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=message.replace("[", r"\[")):
        read_settings(path)


@pytest.mark.parametrize(
    ("vocals", "name"),
    [
        ("My Song (take 2).wav", "My Song (take 2)-seed3"),
        ("/somewhere/Über den Wolken.flac", "Über den Wolken-seed3"),
        ('a:b*c?"<>|\n.wav', "a_b_c______-seed3"),
        ("...wav", "vocals-seed3"),
        ("é" * 200 + ".wav", "é" * 60 + "-seed3"),
    ],
)
def test_a_folder_name_is_one_that_every_file_system_takes(vocals, name):
    assert result_name(vocals, 3) == name


def test_two_processes_never_share_a_folder(tmp_path):
    (tmp_path / "a").mkdir()
    assert make_new_folder(tmp_path, "a").name == "a-2"
    assert make_new_folder(tmp_path, "a").name == "a-3"
