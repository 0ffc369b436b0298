"""`hf:owner/name/file.gguf` and `hf:owner/name`: models of a hub that the catalogue does not name."""

from __future__ import annotations

from ragagent.errors import ModelNotFound
from ragagent.models.catalogue import HubSource, Model, ModelFile, safe_path, safe_repository, safe_revision

PREFIX = "hf:"


def hub_model(reference: str) -> Model:
    """The model that a reference means: with a file in the repository a chat model, without one an embedding model.

    `@` and a branch, tag or commit may stand at the end. Raises ModelNotFound for a reference of another form.
    """
    place, _, revision = reference.removeprefix(PREFIX).partition("@")
    owner, _, rest = place.partition("/")
    name, _, path = rest.partition("/")
    repository, revision = f"{owner}/{name}", revision or "main"
    wrong_file = path and not (safe_path(path) and path.endswith(".gguf"))
    if not safe_repository(repository) or not safe_revision(revision) or wrong_file:
        raise ModelNotFound(
            f"{reference!r} is not a model of a hub: write hf:owner/name/file.gguf for a chat model, "
            "hf:owner/name for an embedding model, and @revision after either if need be"
        )
    return Model(
        name=reference,
        kind="chat" if path else "embedding",
        description=f"{repository} of the hub, not in the catalogue",
        files=(ModelFile(path=path),) if path else (),
        sources=(HubSource(repository=repository, revision=revision),),
    )


def folder_name(model_name: str) -> str:
    """The name of the folder a model is kept in: a catalogue name as it is, a reference in a form without slashes."""
    if not model_name.startswith(PREFIX):
        return model_name
    from urllib.parse import quote

    # quote() keeps no "/" and no "@", so two references never share a folder.
    place, _, revision = model_name.removeprefix(PREFIX).partition("@")
    parts = [quote(part, safe="") for part in (*place.split("/", 2), f"@{revision}" if revision else "")]
    return "--".join(["hf", *filter(None, parts)])
