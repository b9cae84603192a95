"""STT, LLM and TTS vendors and local engines, by role and dialect."""
