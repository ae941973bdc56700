"""A SIGTERM is remembered for the loop, and nowhere else."""

import os
import signal

from accompgen_hf.training.sigterm import SigtermFlag


def test_sigterm_is_remembered_inside_the_block_alone():
    before = signal.getsignal(signal.SIGTERM)
    with SigtermFlag() as flag:
        assert not flag.is_set
        os.kill(os.getpid(), signal.SIGTERM)
        assert flag.is_set
    assert signal.getsignal(signal.SIGTERM) == before
