#!/bin/sh
# Run `asr-server`; print how to fill an empty model volume.
set -eu

if [ "$*" = serve ] && [ -z "${ASR_MODEL:-}" ] && [ "${ASR_DOWNLOAD:-}" != always ] &&
    [ -z "$(ls -A "$ASR_MODEL_DIR" 2>/dev/null)" ]; then
    cat >&2 <<END
No model: $ASR_MODEL_DIR is empty, and the image contains the demo model only. Fill its volume once (1.2 GB),

    docker run --rm -v asr-models:$ASR_MODEL_DIR IMAGE models download
    docker compose run --rm asr-server models download

mount a directory with a model, or try the server with the embedded demo model:

    docker run --rm -p 127.0.0.1:8000:8000 IMAGE serve --model demo

END
fi

exec asr-server "$@"
