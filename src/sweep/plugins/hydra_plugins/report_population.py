"""Where Hydra finds `hydra/launcher=population`."""

from hydra.core.config_store import ConfigStore

from src.population import launcher


class PopulationLauncher(launcher.PopulationLauncher):
    """See src/population/launcher.py."""


ConfigStore.instance().store(
    group="hydra/launcher",
    name="population",
    node={"_target_": f"{__name__}.PopulationLauncher"},
    provider="report_population",
)
