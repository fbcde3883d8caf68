"""The words of captions; where several would do, each with its weight."""

from __future__ import annotations

NUMBERS = ("no", "one", "two", "three", "four", "five", "six")
NOUNS: dict[str, tuple[str, ...]] = {
    "houses": ("houses", "homes", "area"),
    "buildings": ("building", "buildings", "warehouse", "warehouses", "factory", "site"),
    "tanks": ("tank", "tanks"),
    "courts": ("court", "courts"),
    "trees": ("trees", "forest", "woods"),
    "lawn": ("lawn", "grass"),
    "parking": ("parking", "lot", "car", "park", "cars"),
    "planes": ("plane", "planes", "airplane", "airplanes"),
    "boats": ("boat", "boats"),
    "river": ("river", "stream"),
    "road": ("road", "roads", "street", "streets"),
    "runway": ("runway", "airstrip"),
    "harbor": ("harbor", "port"),
    "sea": ("sea", "ocean"),
    "beach": ("beach",),
    "pier": ("pier",),
}
BESIDE = {"beside": 0.5, "near": 0.3, "next to": 0.2}
ITS_SIDE = {"left": "on its left", "right": "on its right", "above": "above it", "below": "below it"}
SIDE_OF: dict[str, dict[str, float]] = {
    "left": {"on the left of": 0.7, "to the left of": 0.3},
    "right": {"on the right of": 0.7, "to the right of": 0.3},
    "above": {"above": 1.0},
    "below": {"below": 1.0},
}
BACKGROUND = {
    "river": {"a river": 0.75, "a winding river": 0.15, "a stream": 0.1},
    "road": {"a road": 0.7, "a straight road": 0.2, "a street": 0.1},
    "runway": {"a runway": 0.75, "a long runway": 0.15, "an airstrip": 0.1},
    "harbor": {"a harbor": 0.8, "a port": 0.2},
    "sea": {"the sea": 0.8, "the ocean": 0.2},
}
STRIP_VERBS = {
    "river": {"flows": 0.45, "runs": 0.55},
    "road": {"goes": 0.4, "runs": 0.6},
    "runway": {"runs": 0.7, "goes": 0.3},
}
PARTICIPLES: dict[str, dict[str, float]] = {
    "planes": {"parked": 0.7, "": 0.3},
    "boats in a harbor": {"docked": 0.5, "moored": 0.2, "": 0.3},
    "boats": {"sailing": 0.5, "": 0.5},
    "many houses": {"arranged neatly": 0.3, "": 0.7},
}
COUNTED = {  # singular and plural
    "houses": {("house", "houses"): 0.9, ("home", "homes"): 0.1},
    "buildings": {
        ("building", "buildings"): 0.65,
        ("factory building", "factory buildings"): 0.15,
        ("warehouse", "warehouses"): 0.2,
    },
    "tanks": {("storage tank", "storage tanks"): 0.75, ("tank", "tanks"): 0.25},
    "courts": {("tennis court", "tennis courts"): 1.0},
    "planes": {("plane", "planes"): 0.75, ("airplane", "airplanes"): 0.25},
    "boats": {("boat", "boats"): 1.0},
}
