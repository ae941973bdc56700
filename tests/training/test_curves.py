"""The picture of a run has a panel per subject, with and without validations."""

from matplotlib import image

from accompgen_hf.training.curves import Curve, Panel, draw_curves
from accompgen_hf.training.run_files import MetricsLog
from accompgen_hf.training.stages.reporting import STAGE_PANELS


def test_curves_are_drawn_with_and_without_validation(tmp_path):
    log = MetricsLog(tmp_path, 0)
    log.write("train", 1, loss=2.0, learning_rate=1e-3)
    draw_curves(tmp_path, STAGE_PANELS)
    gains = {"conditioning_gain": 0.1, "conditioning_gain_interval": 0.02, "null_gain": 0.2, "null_gain_interval": 0.1}
    log.write("validation", 1, loss=2.0, perplexity=[3.0, 4.0], accuracy=[0.1, 0.2], **gains)
    picture = image.imread(draw_curves(tmp_path, STAGE_PANELS))
    assert picture.shape[:2] == (770, 1210)
    assert picture[..., :3].std() > 0.05


def test_a_list_gives_a_line_each_and_events_without_the_number_are_left_out(tmp_path):
    from matplotlib.figure import Figure

    events = [{"kind": "train", "step": 1, "usage": [1.0, 2.0]}, {"kind": "train", "step": 2, "loss": 1.0}]
    axes = Figure().subplots()
    Curve("train", "usage", "codebook {}").draw(axes, events)
    assert axes.get_legend_handles_labels()[1] == ["codebook 1", "codebook 2"]
    assert [line.get_xdata().tolist() for line in axes.get_lines()] == [[1], [1]]


def test_one_panel_is_one_diagram_and_its_scale_may_be_logarithmic(tmp_path):
    MetricsLog(tmp_path, 0).write("train", 1, loss=2.0)
    path = draw_curves(tmp_path, [Panel("loss", [Curve("train", "loss")], scale="log")])
    assert path.name == "curves.png"
    assert image.imread(path).shape[:2] == (385, 605)
