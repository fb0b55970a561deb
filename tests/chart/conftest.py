"""Each set of values, rendered."""

from pathlib import Path

import pytest

from tests.chart.charts import VALUES, Document, render


@pytest.fixture(params=VALUES, ids=lambda file: file.stem)
def values(request: pytest.FixtureRequest) -> Path:
    file: Path = request.param
    return file


@pytest.fixture
def documents(values: Path) -> list[Document]:
    return render(values)
