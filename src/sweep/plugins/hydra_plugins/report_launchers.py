"""Where Hydra finds `hydra/launcher=workers`: it takes plugins from a package of this name only."""

from hydra.core.config_store import ConfigStore

from src.sweep import launcher, workers


class WorkersLauncher(workers.WorkersLauncher):
    """See src/sweep/workers.py."""


class OtherLauncher(launcher.OtherLauncher):
    """See src/sweep/launcher.py."""


ConfigStore.instance().store(
    group="hydra/launcher",
    name="workers",
    node={"_target_": f"{__name__}.WorkersLauncher"},
    provider="report_launchers",
)
