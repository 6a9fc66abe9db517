"""The settings of one process, read from PAIRSIEVE_* environment variables. Not for recipes or training
configs."""

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from ranking.errors import UsageError
from ranking.validation import first_flaw


class Settings(BaseSettings):
    """Where the store is, how work is cut and how long it may take; each field is PAIRSIEVE_<FIELD> in
    capitals."""

    model_config = SettingsConfigDict(env_prefix="PAIRSIEVE_", extra="ignore", frozen=True)

    store: str = Field(
        default="./pairsieve-data", min_length=1, description="the store: a folder, or s3://bucket/prefix"
    )
    cache: str = Field(
        default="~/.cache/pairsieve", min_length=1, description="where copies of what a bucket holds are kept"
    )
    weights: str = Field(
        default="~/.cache/pairsieve/weights", min_length=1, description="where scorers' weights are kept"
    )
    cache_gb: float = Field(default=50, gt=0, description="GB of such copies, beyond which the unused are removed")
    broker: str | None = Field(default=None, description="a Redis URL; without it work runs on this machine only")
    host: str = Field(default="127.0.0.1", min_length=1, description="address the API listens on")
    port: int = Field(default=8765, ge=0, le=65535, description="port the API listens on; 0 picks a free one")
    slice_items: int = Field(default=2048, ge=1, le=1_000_000, description="largest number of items in one slice")
    ingest_memory_gb: float = Field(
        default=3, ge=0.5, le=1024, description="GB that one process which reads sources may take"
    )
    thumbnails: bool = Field(default=True, description="whether scoring makes 256-pixel thumbnails")
    embeddings: bool = Field(default=True, description="whether scoring keeps the embeddings that its scorers have")
    decoders: int = Field(
        default=0, ge=0, le=512, description="processes that decode images; 0: one for each processor that may be used"
    )
    decoder_gb: float = Field(default=3, ge=0.75, le=1024, description="GB of address space that one of them may take")
    decode_seconds: float = Field(
        default=60, gt=0, le=3600, description="seconds that one of them may spend on an image"
    )
    batch: int = Field(default=0, ge=0, le=65_536, description="images scored at once; 0: what suits the device")
    compile: bool = Field(default=False, description="whether towers go through torch.compile")
    image_urls: bool = Field(default=False, description="whether images behind https addresses are fetched")
    image_hosts: str = Field(
        default="", description="hosts that they may come from, comma-separated; *.example.org for all below one"
    )
    safety_words: str = Field(
        default="", description="a YAML file of words, by category, that call a prompt unsafe; empty: our own list"
    )
    max_attempts: int = Field(default=3, ge=1, description="tries before a slice or run is buried")
    lease_seconds: float = Field(
        default=600, gt=0, description="how long an attempt is left alone before another may start"
    )
    reconcile_seconds: float = Field(default=30, gt=0, description="how often open work is looked for and published")
    clock_speed: float = Field(default=1.0, gt=0, description="schedule seconds per real second; above 1 in tests only")


def load_settings() -> Settings:
    """The settings of this environment; UsageError in one line when a variable does not fit."""
    try:
        settings = Settings()
    except ValidationError as error:
        flaw = first_flaw(error)
        name = "PAIRSIEVE_" + "_".join(flaw.path).upper()
        raise UsageError(f"{name} does not fit: {flaw.message}", code="bad-setting", hint=f"correct {name}") from error
    if settings.image_urls and not settings.image_hosts.strip(" ,"):
        raise UsageError(
            "PAIRSIEVE_IMAGE_URLS is on, but PAIRSIEVE_IMAGE_HOSTS allows no host",
            code="bad-setting",
            hint="name the hosts that images may come from",
        )
    return settings
