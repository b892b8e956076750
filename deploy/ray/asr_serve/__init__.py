"""Run asr-server as a deployment of Ray Serve."""
