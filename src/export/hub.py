"""To the Hugging Face Hub and back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import HfApi

from src.run.trained import WEIGHTS, Trained, load_trained


def from_pretrained(source: str | Path, trust: Sequence[str] = ()) -> Trained:
    """What `to=hub_folder` or `to=safetensors` wrote: a folder, or USER/NAME on the Hub.

    Args:
        trust: packages whose classes it may name, see `load_trained`.
    """
    here = source if Path(source).exists() else HfApi().hf_hub_download(str(source), WEIGHTS)
    return load_trained(str(here), trust)


def push(folder: Path, name: str) -> str:
    """Upload a folder as USER/NAME, made if missing; the address of the commit."""
    api = HfApi()
    api.create_repo(name, exist_ok=True)
    return str(api.upload_folder(repo_id=name, folder_path=folder, commit_message="Export").commit_url)
