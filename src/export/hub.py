"""To the Hugging Face Hub and back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, HFValidationError

from src.entry_point import UserError, printable
from src.run.trained import Trained, load_trained
from src.run.weights import WEIGHTS


def from_pretrained(source: str | Path, trust: Sequence[str] = ()) -> Trained:
    """What `to=hub_folder` or `to=safetensors` wrote: a folder, or USER/NAME on the Hub.

    Args:
        trust: packages whose classes it may name, see `load_trained`.

    Raises:
        UserError: there is none, it cannot be fetched, or it asks for code that is not trusted.
    """
    if Path(source).exists():
        return load_trained(str(source), trust)
    try:
        path = HfApi().hf_hub_download(str(source), WEIGHTS)
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        raise UserError(f"{source} is no folder here, and cannot be fetched: {printable(error)}") from error
    return load_trained(path, trust)


def push(folder: Path, name: str, private: bool) -> str:
    """Upload a folder as USER/NAME, made if missing; the address of the commit.

    Raises:
        UserError: the Hub refuses it.
    """
    try:
        api = HfApi()
        api.create_repo(name, private=private, exist_ok=True)
        done = api.upload_folder(repo_id=name, folder_path=folder, commit_message="Export")
        return str(done.commit_url)
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        raise UserError(
            f"push_to_hub={name}: the Hub refuses it ({printable(error)}); `hf auth login` says who you are. The "
            f"files are in {folder}"
        ) from error
