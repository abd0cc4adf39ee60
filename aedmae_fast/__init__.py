"""High-throughput video anomaly scoring with self-distilled masked auto-encoders (AED-MAE).

>>> from aedmae_fast import Scorer
>>> scorer = Scorer.from_pretrained("model.safetensors")
>>> scores = scorer.score("video.mp4")
>>> scores.score  # float64 [frames], higher is more unusual
"""

from aedmae_fast import ops
from aedmae_fast.engine.choose import ChoiceError
from aedmae_fast.engine.feed import NoAnswerError
from aedmae_fast.engine.results import ClipScores
from aedmae_fast.engine.scorer import Scorer
from aedmae_fast.linking import get_include, get_library_dir
from aedmae_fast.model.checkpoint import CheckpointError, load_model
from aedmae_fast.version import __version__

__all__ = [
    "CheckpointError",
    "ChoiceError",
    "ClipScores",
    "NoAnswerError",
    "Scorer",
    "__version__",
    "get_include",
    "get_library_dir",
    "load_model",
    "ops",
]
