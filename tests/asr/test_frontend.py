"""Features against FunASR's, and the rules at the edges."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from asr_server.asr.loading.model_dir import ModelDir, read_cmvn
from asr_server.asr.loading.networks import load_frontend
from asr_server.asr.nn.frontend import CONTEXT, FRAME, Features, Frontend
from asr_server.audio.units import Pcm
from tests.support.chunks import speechlike

AUDIO = speechlike(3.0)


@pytest.fixture(scope="module")
def frontend(model_dir: Path) -> Frontend:
    return load_frontend(ModelDir.open(model_dir))


def features(frontend: Frontend, pieces: Sequence[Pcm], first: Sequence[bool]) -> Features:
    longest = max(FRAME, *map(len, pieces), 0)
    samples = np.stack([np.pad(piece, (0, longest - len(piece))) for piece in pieces])
    counts = torch.tensor([len(piece) for piece in pieces])
    return frontend(torch.from_numpy(samples), counts, torch.tensor(first), 10)


def test_features_are_those_of_funasr(frontend: Frontend, model_dir: Path) -> None:
    online = pytest.importorskip("funasr.frontends.wav_frontend").WavFrontendOnline
    reference = online(
        cmvn_file=str(model_dir / "am.mvn"), lfr_m=7, lfr_n=6, dither=0.0, window="hamming"
    )
    cache: dict[str, object] = {}
    for chunk in range(3):
        samples = AUDIO[chunk * 9_600 : (chunk + 1) * 9_600]
        expected, _ = reference(
            torch.from_numpy(samples)[None], torch.tensor([len(samples)]), cache=cache
        )
        begin = chunk * 9_600 - (CONTEXT if chunk else 0)
        ours = features(frontend, [AUDIO[begin : (chunk + 1) * 9_600]], [chunk == 0])
        assert ours.lengths.tolist() == [expected.shape[1]]
        torch.testing.assert_close(ours.frames[0], expected[0], atol=2e-4, rtol=1e-4)


def test_rows_of_different_lengths_do_not_touch_each_other(frontend: Frontend) -> None:
    pieces = [AUDIO[:9_600], AUDIO[100:2_000], AUDIO[:0], AUDIO[5_000:5_700]]
    together = features(frontend, pieces, [True, False, False, True])
    for row, (piece, first) in enumerate(zip(pieces, [True, False, False, True], strict=True)):
        alone = features(frontend, [piece], [first])
        assert together.lengths[row] == alone.lengths[0]
        torch.testing.assert_close(together.frames[row], alone.frames[0])


@pytest.mark.parametrize(
    ("samples", "frames"), [(0, 0), (399, 0), (400, 1), (1_359, 1), (1_360, 2), (9_600, 10)]
)
def test_a_frame_exists_when_its_centre_does(frontend: Frontend, samples: int, frames: int) -> None:
    assert features(frontend, [AUDIO[:samples]], [True]).lengths.tolist() == [frames]


def test_digital_silence_has_finite_features(frontend: Frontend) -> None:
    silence = np.zeros(9_600, dtype=np.float32)
    assert features(frontend, [silence], [True]).frames.isfinite().all()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("<Nnet> nothing here </Nnet>", "holds no means and variances"),
        ("<Nnet> <AddShift> [ 1 ] <Rescale> [ 1 ] </Nnet>", "has 1 values, the model needs 560"),
    ],
)
def test_a_file_without_means_and_variances_is_refused(tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / "am.mvn").write_text(text)
    with pytest.raises(ValueError, match=why):
        read_cmvn(tmp_path / "am.mvn")


def test_a_file_of_means_and_variances_that_is_cut_off_is_refused(
    model_dir: Path, tmp_path: Path
) -> None:
    text = (model_dir / "am.mvn").read_text()
    (tmp_path / "am.mvn").write_text(text[: -len("</Nnet>\n")])
    with pytest.raises(ValueError, match="holds no means and variances"):
        read_cmvn(tmp_path / "am.mvn")
