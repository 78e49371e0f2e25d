"""The settings table of the README, made from the settings classes: `python -m tests.architecture.settings_table`."""

from __future__ import annotations

from pathlib import Path

from retrieval.settings import RetrievalSettings
from service.settings import ServiceSettings

README = Path(__file__).parents[2] / "README.md"
HEAD = "| Setting | Default | |\n|---|---|---|\n"


def render() -> str:
    rows = []
    for settings in (RetrievalSettings, ServiceSettings):
        prefix = settings.model_config["env_prefix"]
        for name, field in settings.model_fields.items():
            rows.append(f"| `{prefix}{name.upper()}` | {describe_default(field.default)} | {field.description} |\n")
    return HEAD + "".join(rows)


def describe_default(default: object) -> str:
    if default is None:
        return "unset"
    text = ",".join(default) if isinstance(default, tuple) else str(default)
    return f"`{text.replace(str(Path.home()), '~')}`"


def main() -> None:
    text = README.read_text()
    start = text.index(HEAD)
    end = text.index("\n\n", start) + 1
    README.write_text(text[:start] + render() + text[end:])


if __name__ == "__main__":
    main()
