"""What deploys/doctor.py prints (hubstead.doctor)."""

from __future__ import annotations

from pydantic import Field

from hubstead.settings.model import Settings


class DoctorSettings(Settings):
    """How deploys/doctor.py reports, on the command line (doctor.md)."""

    prefixes = ("doctor_",)

    doctor_json: bool = Field(
        False, description="Whether deploys/doctor.py prints a JSON document in the place of text."
    )
