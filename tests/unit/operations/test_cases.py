"""The cases in facts/ and cases/, one file a test; the format is pyinfra-testing's.

A fact's output is what a real host printed. No-ops, and facts that hold sets, are tested in the
other modules: pyinfra-testing 0.2.1 knows neither.
"""

from pathlib import Path

from pyinfra_testing.facts import make_fact_tests
from pyinfra_testing.operations import make_operation_tests

HERE = Path(__file__).parent

for path in sorted((HERE / "facts").iterdir()):
    globals()[f"Test{path.name}"] = make_fact_tests("hubstead.operations", path.name, path)
for path in sorted((HERE / "cases").iterdir()):
    globals()[f"Test{path.name}"] = make_operation_tests("hubstead.operations", path.name, path)
