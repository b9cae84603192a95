"""Keys of the agent: its providers, how it takes turns, what it says."""

from __future__ import annotations

from voxray.config.key import Key, Section
from voxray.config.kinds import Choice, FilePath, Flag, Number, Text, Texts, Whole

FALLBACK = "a provider that fails is not replaced"

PROVIDERS = Section(
    "Providers",
    (
        Key("provider", Text(), "", "for the stages that name none",
            proof="tests.test_config_load.DefaultTests.test_provider", shown_default="openai"),
        Key("stt_provider", Text(), "", "speech to text", "providers.stt.provider",
            shown_default="`provider`"),
        Key("llm_provider", Text(), "", "language model", "providers.llm.provider",
            shown_default="`provider`"),
        Key("tts_provider", Text(), "", "text to speech", "providers.tts.provider",
            shown_default="`provider`"),
        Key("model", Text(), "", "the language model's name", "providers.llm.model",
            shown_default="the provider's"),
        Key("stt_model", Text(), "", "its model", "providers.stt.model", shown_default="the provider's"),
        Key("tts_model", Text(), "", "its model", "providers.tts.model", shown_default="the provider's"),
        Key("tts_voice", Text(), "", "its voice", "providers.tts.voice", shown_default="the provider's"),
        Key("stt_language", Text(), "",
            "what callers speak, such as `en` or `hi-IN`; also the voice's language when `language` is "
            "not set", "providers.stt.language", shown_default="`language`, else detected"),
        Key("stt_fallback", Texts(one_will_do=True), (), "providers to try next", "providers.stt.fallback",
            later=FALLBACK),
        Key("llm_fallback", Texts(one_will_do=True), (), "providers to try next", "providers.llm.fallback",
            later=FALLBACK),
        Key("tts_fallback", Texts(one_will_do=True), (), "providers to try next", "providers.tts.fallback",
            later=FALLBACK),
        Key("soniox_model", Text(), "", "", "providers.soniox_model", env=("SONIOX_MODEL",),
            later="soniox is not built yet"),
        Key("google_tts_language", Text(), "", "", "providers.google_tts_language",
            env=("GOOGLE_TTS_LANGUAGE",), later="google is not built yet"),
    ),
)  # fmt: skip

TURNS = Section(
    "Who speaks when",
    (
        Key("turn_detection", Choice(("none", "silence"), (("", "none"),)), "none",
            "a phone call always needs it: both words mean `silence`", "turns.detection"),
        Key("turn_stop_secs", Number(0.0, 60.0), 0.6,
            "silence that ends the caller's turn, counted from the last speech; 0: the default",
            "turns.stop_secs", zero_unset=True),
        Key("turn_pre_speech_ms", Number(0.0, 10_000.0), 500.0, "audio kept from before speech was noticed",
            "turns.pre_speech_ms"),
        Key("turn_max_duration_secs", Number(0.0, 600.0), 8.0,
            "a longer turn is transcribed in pieces; 0: the default", "turns.max_duration_secs",
            zero_unset=True),
        Key("user_turn_stop_timeout_secs", Number(0.0, 600.0), 5.0,
            "no packets for so long end the turn; 0: the default", "turns.stop_timeout_secs",
            zero_unset=True, shown_default="`turn_stop_secs` when set (but at least 1), else 5"),
        Key("user_idle_timeout_secs", Number(0.0, 86_400.0), 0.0,
            "a caller silent for so long is prompted, then the call ends; 0: off",
            "agent.user_idle_timeout_secs"),
        Key("vad_type", Choice(("silero", "energy", "aic"), (("", "silero"),)), "silero",
            "the voice activity detector", "turns.vad_type",
            shown_default="silero, or energy when its runtime is not installed"),
        Key("vad_confidence", Number(0.0, 1.0), 0.7,
            "silero: probability that counts as speech; 0: the default", "turns.vad_confidence",
            zero_unset=True),
        Key("vad_threshold", Number(0.0, 1.0), 0.02,
            "energy: least level (RMS of 1) that can be speech; 0: the default", "turns.vad_threshold",
            zero_unset=True),
        Key("vad_min_volume", Number(0.0, 1.0), 0.0,
            "least level (RMS of 1) for either detector; 0: the detector decides. Telephone speech is "
            "mostly between 0.01 and 0.2", "turns.vad_min_volume"),
        Key("vad_start_secs_vad", Number(0.0, 10.0), 0.2, "speech this long is speech; 0: the default",
            "turns.vad_start_secs", zero_unset=True),
        Key("vad_stop_secs", Number(0.0, 60.0), 0.2,
            "silence this long ends a stretch of speech; 0: the default", "turns.vad_stop_secs",
            zero_unset=True),
        Key("vad_start_secs", Number(0.0, 60.0), 0.0, "turn pre-padding in the Go project",
            "legacy.vad_start_secs", later="`turn_pre_speech_ms` says how much audio is kept"),
        Key("vad_batch_size", Whole(0, 4_096), 1, "windows a model run takes; 0: the default",
            "legacy.vad_batch_size", zero_unset=True,
            later="windows of all calls are batched as they come"),
        Key("turn_async", Flag(), False, "", "legacy.turn_async", later="turns are always asynchronous"),
        Key("eager_transcription", Flag(), True,
            "transcribe at the first pause, before the turn is surely over", "turns.eager_transcription"),
        Key("allow_interruptions", Flag(), True, "the caller may cut the agent short",
            "turns.allow_interruptions"),
        Key("interruption_strategy", Choice(("", "min_words", "none"), (("keyword", "min_words"),)), "",
            "`min_words`: only so many words cut the agent short", "turns.interruption_strategy"),
        Key("min_words", Whole(0, 1_000), 1, "0: the default", "turns.min_words", zero_unset=True),
        Key("resume_false_interruption", Flag(), True, "go on where the agent was stopped by a noise",
            "turns.resume_false_interruption"),
    ),
)  # fmt: skip

AGENT = Section(
    "What the agent says",
    (
        Key("system_prompt", Text(), "", "what the language model is told first", "agent.system_prompt"),
        Key("greeting", Text(), "", "spoken first; empty: wait for the caller", "agent.greeting"),
        Key("language", Text(), "en", "what the agent speaks", "agent.language"),
        Key("goodbye", Text(), "Thank you for calling. Goodbye.",
            "said before we end a call; empty: nothing", "agent.goodbye"),
        Key("idle_prompt", Text(), "Are you still there?", "said to a silent caller", "agent.idle_prompt"),
        Key("idle_prompts_max", Whole(0, 100), 2, "then the call ends", "agent.idle_prompts_max"),
        Key("apology", Text(), "I'm sorry, I have a technical problem. Please say that again.",
            "said when a provider fails", "agent.apology"),
        Key("scenario_file", FilePath(), "",
            "what the `local` language model follows; empty: the receptionist", "agent.scenario_file"),
    ),
)  # fmt: skip
