"""The latency goals of live streams: 95 of 100 latencies stay under these, in seconds."""

FIRST_TEXT_S = 0.6
"""From the first speech to the first text of its sentence."""
FINAL_S = 0.15
"""From the last speech to the final, beyond the task's `max_sentence_silence`."""
TAIL_S = 0.15
"""From finish-task to task-finished."""
