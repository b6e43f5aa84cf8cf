"""The worker's settings: flags > environment (``TASKROLL_*``) > defaults; Temporal's own from its TOML profiles."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field
from pydantic_settings import BaseSettings, CliSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from taskroll.models.names import Namespace

LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]


class WorkerSettings(BaseSettings):
    """Durations in seconds."""

    model_config = SettingsConfigDict(env_prefix="TASKROLL_", extra="ignore", cli_kebab_case=True)

    temporal_profile: str | None = Field(default=None, description="profile of Temporal's TOML configuration")
    temporal_address: str | None = Field(default=None, description="host:port; overrides TEMPORAL_ADDRESS and profile")
    temporal_namespace: str | None = Field(default=None, description="overrides TEMPORAL_NAMESPACE and profile")
    task_queue: str = Field(default="taskroll", description="task queue to poll")
    kubeconfig: Path | None = Field(default=None, description="kubeconfig file; default: in-cluster, else KUBECONFIG")
    context: str | None = Field(default=None, description="context of the kubeconfig")
    services: Path = Field(default=Path("services.yaml"), description="which services load the definitions, and how")
    reconcile_namespaces: tuple[Namespace, ...] = Field(
        default=("cornserve",), description="namespaces of definitions that the reconciler looks after, as JSON"
    )
    reconcile_interval: float = Field(
        default=60.0, ge=0, le=86400, description="seconds between two rounds of the reconciler; 0 for none"
    )
    listen: str = Field(
        default="127.0.0.1:9090", description="host:port of /healthz, /readyz and /metrics; '' for none"
    )
    log_format: Literal["json", "console"] = Field(default="json", description="json, or console for people")
    log_level: Annotated[
        LogLevel, BeforeValidator(lambda value: value.upper() if isinstance(value, str) else value)
    ] = Field(default="INFO", description="DEBUG, INFO, WARNING, ERROR, CRITICAL")
    graceful_shutdown_timeout: float = Field(
        default=20.0, ge=0, le=3600, description="seconds that running activities get after SIGTERM"
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings

    @classmethod
    def from_command_line(cls, arguments: list[str] | None = None) -> "WorkerSettings":
        """Read flags, then environment, then defaults.

        Raises:
            SystemExit: for ``--help`` and unknown flags.
            pydantic.ValidationError: for a value that does not fit; names the setting.
        """
        source: CliSettingsSource[Any] = CliSettingsSource(
            cls, cli_parse_args=arguments or True, cli_prog_name="taskroll-worker"
        )
        return cls(**source())
