"""The record of a run: one line per event, nothing twice after a resume, and a picture."""

from matplotlib import image

from accompgen_hf.training.metrics import MetricsLog, draw_curves, read_metrics


def test_a_resumed_run_drops_what_it_will_do_again(tmp_path):
    log = MetricsLog(tmp_path, 0)
    for step in range(1, 5):
        log.write("train", step, loss=1.0 / step)
    with open(log.path, "a", encoding="utf-8") as file:
        file.write('{"kind": "train", "st')  # killed while writing
    MetricsLog(tmp_path, 2).write("train", 3, loss=9.0)
    assert [(event["step"], event["loss"]) for event in read_metrics(tmp_path)] == [(1, 1.0), (2, 0.5), (3, 9.0)]


def test_no_metrics_are_an_empty_list(tmp_path):
    assert read_metrics(tmp_path) == []


def test_curves_are_drawn_with_and_without_validation(tmp_path):
    log = MetricsLog(tmp_path, 0)
    log.write("train", 1, loss=2.0, learning_rate=1e-3)
    draw_curves(tmp_path)
    gains = {"conditioning_gain": 0.1, "conditioning_gain_interval": 0.02, "null_gain": 0.2, "null_gain_interval": 0.1}
    log.write("validation", 1, loss=2.0, perplexity=[3.0, 4.0], accuracy=[0.1, 0.2], **gains)
    picture = image.imread(draw_curves(tmp_path))
    assert picture.shape[:2] == (770, 1210)
    assert picture[..., :3].std() > 0.05
