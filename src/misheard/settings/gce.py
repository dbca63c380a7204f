"""The section `[gce]`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from misheard.settings.section import Hours, Minutes, Seconds, Section

_Name = Annotated[str, Field(pattern=r"^[a-z]([-a-z0-9]*[a-z0-9])?$")]


class GceSettings(Section):
    """Machines of Google Compute Engine that trainings run on, where `backend` is "gce"."""

    project_id: str = ""
    """The project that is billed for them."""
    bucket: str = ""
    """Where a training and its files travel through; empty: that of models."""
    zones: tuple[_Name, ...] = Field(
        default=("us-central1-a", "us-central1-b", "us-central1-c"), min_length=1
    )
    """Where a machine may be, in this order: the next one is asked when one has none left."""
    machine_type: _Name = "g2-standard-8"
    """A type with one NVIDIA L4, 8 processors and 32 GB of memory."""
    accelerator: str = ""
    """A GPU that is added to the machine, nvidia-tesla-t4 say; empty: what its type has."""
    accelerator_count: int = Field(default=1, ge=1, le=16)
    """How many of them, where `accelerator` names one."""
    spot: bool = False
    """A spare machine, for about a third of the price; it may be taken away at any moment, and
    the training then goes on from its last checkpoint on the next."""
    image: str = ""
    """What its disk begins with; empty: Google's of deep learning, with NVIDIA's driver."""
    disk_gb: int = Field(default=100, ge=10, le=65_536)
    """Of its disk."""
    service_account: str = ""
    """As whom the machine reads and writes the bucket; empty: the project's default account."""
    network: str = ""
    """The network that it is in; empty: the project's default one."""
    external_ip: bool = True
    """Without one, the network needs Cloud NAT to install from."""
    max_run_hours: Hours = Field(default=6.0, gt=0.05, le=720.0)
    """After which Google itself deletes a machine, whatever else has died."""
    max_attempts: int = Field(default=5, ge=1, le=100)
    """How many machines a training may have, one after another, when they are taken away."""
    silent_minutes: Minutes = Field(default=20.0, gt=0.0)
    """A machine that gives no sign of life for so long is deleted, and another one asked for."""
    monthly_budget_usd: float = Field(default=100.0, ge=0.0)
    """No machine is rented that could bring what a month costs above this; 0: no limit."""
    usd_per_hour: float = Field(default=0.0, ge=0.0)
    """What a machine costs; 0: as the list of prices has it."""
    poll_s: Seconds = Field(default=10.0, gt=0.0)
    """How often a training that runs is looked at."""
    vm_name: str = Field(default="", pattern=r"^([a-z]([-a-z0-9]{0,52}[a-z0-9])?)?$")
    """What machines are called; empty: made of the job's id."""
    endpoint: str = ""
    """Address of the Compute Engine API; empty: Google's own."""
