"""An error in a system of one's own names the line of its file."""

from pathlib import Path

import pytest
from small import METRIC, tiny

from ganforge.cluster.train import TrainingFailed, fit
from ganforge.systems.catalog import load_own_system
from ganforge.training.prepare import prepare

_WRONG = """import torch

from ganforge.systems.progressive_gan_sr import ProgressiveGANSR


class Wrong(ProgressiveGANSR):
    def losses(self, player, batch, progress):
        torch.ones(2, 3) @ torch.ones(2, 3)
        return super().losses(player, batch, progress)
"""


@pytest.mark.ray
def test_the_line_of_ones_own_file_is_named(cluster: None, tmp_path: Path) -> None:
    file = tmp_path / "wrong.py"
    file.write_text(_WRONG)
    system = f"{file}:Wrong"
    load_own_system(system)
    prepared = prepare(system, tiny(stages=1).model_copy(update={"system": system}))
    with pytest.raises(TrainingFailed) as caught:
        fit(prepared, metric=METRIC, store=str(tmp_path / "run"))
    line = str(caught.value)
    assert "mat1 and mat2 shapes cannot be multiplied" in line, line
    assert line.endswith("(wrong.py, line 8, in losses)")
