"""Hold the text of one item of a Realtime conversation while it grows."""

from dataclasses import dataclass
from os.path import commonprefix

from asr_server.protocol.realtime_events import Item
from asr_server.text.tokens import joined


@dataclass(slots=True)
class Utterance:
    """Hold the text of one item so far."""

    item: Item
    committed: bool = False
    finals: str = ""
    """The sentences that will not change any more."""
    last: str = ""
    """The text when it was last shown."""
    fixed: str = ""
    """The beginning of it that two results agreed on."""
    sent: str = ""
    """What deltas have sent."""
    speech_ms: int = 0

    def show(self, sentence: str) -> str:
        """Return the whole text with the open sentence, and note what of it is fixed."""
        text = joined(self.finals, sentence)
        common = commonprefix([self.last, text])
        if not (text.startswith(self.fixed) and len(self.fixed) > len(common)):
            self.fixed = common
        self.last = text
        return text

    def added(self, text: str) -> str:
        """Return what a delta adds to reach `text`; nothing if that contradicts an earlier one."""
        if not text.startswith(self.sent):
            return ""
        added, self.sent = text[len(self.sent) :], text
        return added
