"""The same Hub with groups of the settings; a server is a note of what it would have had."""

import asyncio
import json
from pathlib import Path
from typing import Any

from jupyterhub.spawner import Spawner

from hubstead_hub import groups
from hubstead_hub.groups import Applied, Chooser, Chosen


class Noting(Spawner):
    """Notes the limits, and ends; for slow-NAME only when there is a file of that name."""

    async def start(self) -> str:
        name = self.user.name
        Path(f"limits-{name}").write_text(json.dumps([self.mem_limit, self.cpu_limit]))
        while name.startswith("slow-") and not Path(name).exists():
            await asyncio.sleep(0.05)
        raise RuntimeError("noted")

    async def stop(self, now: bool = False) -> None:
        pass

    async def poll(self) -> int | None:
        return 0


here: Any = globals()
here["load_subconfig"](str(Path(here["__file__"]).with_name("hub_config.py")))
c: Any = here["get_config"]()
c.JupyterHub.spawner_class = Noting
c.Ruled.rules_file = "rules.json"
c.Spawner.mem_limit = "2G"
c.Spawner.cpu_limit = 2.0
c.Spawner.options_form = Chooser()
c.Spawner.options_from_form = Chosen()
c.Spawner.apply_user_options = Applied()
groups.give_people_what_their_groups_have()
