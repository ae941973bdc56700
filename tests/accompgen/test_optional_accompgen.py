"""What an optional library says when it is missing."""

import pytest

from accompgen_hf.accompgen.optional_accompgen import import_optional


def test_a_library_that_is_there_is_imported():
    assert import_optional("json.decoder", "Testing").JSONDecoder


def test_a_missing_library_says_what_it_is_for_and_how_to_install_it():
    with pytest.raises(ImportError, match="Testing needs no_such_module: `pip install it`"):
        import_optional("no_such_module", "Testing", "it")
    with pytest.raises(ImportError, match="`pip install no_such_module`"):
        import_optional("no_such_module", "Testing")
