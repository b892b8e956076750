"""Define the models with a name of their own: their ids on the hubs, and their files."""

from dataclasses import dataclass
from typing import Literal

HubName = Literal["modelscope", "huggingface"]


class ModelError(Exception):
    """Report a model that cannot be found, downloaded or used; the text has the next command."""


@dataclass(frozen=True, slots=True)
class Model:
    """Describe one model as the hubs publish it."""

    name: str
    task: str
    modelscope: str | None
    """Id on ModelScope, or None if not published there."""
    huggingface: str | None
    """Id on Hugging Face, or None if not published there."""
    megabytes: int
    """Rough size of the download."""
    licence: str
    aliases: tuple[str, ...] = ()
    files: tuple[str, ...] = ("config.yaml", "model.pt", "tokens.json")
    """A directory without one of these is not this model."""
    extras: tuple[str, ...] = ()
    """Downloaded too if the hub has them."""

    def id_on(self, hub: HubName) -> str | None:
        """Return the id under which a hub publishes the model."""
        return self.modelscope if hub == "modelscope" else self.huggingface

    @property
    def ids(self) -> tuple[str, ...]:
        """Return every hub id, those of former owners included."""
        known = (self.modelscope, self.huggingface, *self.aliases)
        return tuple(dict.fromkeys(i for i in known if i and "/" in i))


PRODUCTION = "paraformer-zh-streaming"
PUNCTUATION = "ct-punc-realtime"
SECOND_PASS = "paraformer-zh"
DEMO = "demo"

_LICENCE = "FunASR Model License 1.1"
_ASR = "speech_paraformer-large_asr_nat-zh-cn-16k-common-vocab8404-online"
_OFFLINE = "speech_seaco_paraformer_large_asr_nat-zh-cn-16k-common-vocab8404-pytorch"
_PUNC = "punc_ct-transformer_zh-cn-common-vad_realtime-vocab272727"

CATALOG = (
    Model(
        name=PRODUCTION,
        task="recognition, streaming",
        modelscope=f"iic/{_ASR}",
        huggingface="funasr/paraformer-zh-streaming",
        megabytes=890,
        licence=_LICENCE,
        aliases=(f"damo/{_ASR}",),
        files=("config.yaml", "model.pt", "tokens.json", "am.mvn"),
        extras=("configuration.json", "seg_dict", "README.md", "example/asr_example.wav"),
    ),
    Model(
        name=PUNCTUATION,
        task="punctuation, streaming",
        modelscope=f"iic/{_PUNC}",
        huggingface=None,  # `funasr/ct-punc` there is the offline model, which needs whole texts
        megabytes=290,
        licence=_LICENCE,
        aliases=(f"damo/{_PUNC}",),
        extras=("configuration.json", "README.md"),
    ),
    Model(
        name=SECOND_PASS,
        task="recognition, second pass",
        modelscope=f"iic/{_OFFLINE}",
        # `funasr/paraformer-zh` there is another model, without times and hotwords.
        huggingface=None,
        megabytes=1000,
        licence=_LICENCE,
        aliases=(f"damo/{_OFFLINE}",),
        files=("config.yaml", "model.pt", "tokens.json", "am.mvn"),
        extras=("configuration.json", "seg_dict", "README.md", "example/asr_example.wav"),
    ),
)


def lookup(name: str) -> Model | None:
    """Return the model of this name, alias or hub id; any other `owner/name` counts as a hub id."""
    for model in CATALOG:
        if name == model.name or name in model.ids:
            return model
    if name.count("/") == 1 and all(name.split("/")) and "." not in name.split("/")[0]:
        asr = CATALOG[0]
        return Model(name, asr.task, name, name, asr.megabytes, "see its page", (), asr.files)
    return None
