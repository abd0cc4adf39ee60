"""What the command makes of its arguments, and what it says of them."""

from __future__ import annotations

import pytest

from aedmae_fast import evaluate
from aedmae_fast.config import ModelConfig
from aedmae_fast.engine.choose import choose_preset
from aedmae_fast.training.options import config_of, make_parser


def config(*arguments: str) -> ModelConfig:
    return config_of(make_parser().parse_args(["--data", "x", "--out", "y", *arguments]))


@pytest.mark.parametrize(
    ("ratio", "masks"), [("0.1", 16), ("0.5", 16), ("0.6", 18), ("0.7", 16), ("0.8", 20), ("0.9", 20)]
)
def test_every_mask_ratio_has_a_bank_that_shows_every_patch(ratio: str, masks: int) -> None:
    found = config("--mask-ratio", ratio)
    assert (found.mask_count, found.mask_count % found.masks_to_cover) == (masks, 0)


@pytest.mark.parametrize("ratio", ["1", "-3", "nan", "inf"])
def test_a_mask_ratio_that_makes_no_sense_is_refused(ratio: str) -> None:
    with pytest.raises(ValueError, match="mask_ratio"):
        config("--mask-ratio", ratio)


def test_a_class_head_without_a_weight_is_none() -> None:
    """It would be untrained, and the default score adds what it says."""
    assert config().class_head
    without = config("--class-weight", "0")
    assert not without.class_head
    assert choose_preset("auto", without)[0].class_weight == 0


def test_help_says_what_layouts_and_defaults_are() -> None:
    for command in (make_parser(), evaluate._parser()):
        said = command.format_help()
        assert "clips: a layout of our own\n    train/01.mp4, test/01.mp4" in said
    said = " ".join(make_parser().format_help().split())
    assert "(default: the layout's; of clips and videos: shanghaitech)" in said
    assert "learning rate in each phase (paper: constant, short: cosine)" in said
