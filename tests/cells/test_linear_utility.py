from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from splitsec.cells import linear_utility
from splitsec.cells.linear_utility import linear_utility_of
from splitsec.data.loading import load_data
from splitsec.data.parts import Data
from splitsec.plugins.data_spec import DataSpec
from splitsec.progress import Silent
from support.parts import source_parameters


@pytest.fixture
def data() -> Data:
    name = "phantom-fundus"
    counts = {"private": 40, "public": 10, "validation": 5, "held_out": 20, "clients": 2}
    parameters = source_parameters(name, {})
    spec = DataSpec.model_validate({"name": name, "size": 16, "parameters": parameters, **counts})
    return load_data(spec, Silent())


def test_the_same_images_are_fitted_once(data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    fitted = []
    fit = linear_utility.linear_utility
    monkeypatch.setattr(linear_utility, "_KNOWN", {})
    monkeypatch.setattr(
        linear_utility, "linear_utility", lambda *given: fitted.append(given) or fit(*given)
    )
    first = linear_utility_of(data)
    again = linear_utility_of(load_data(data.spec, Silent()))
    assert first == again
    assert len(fitted) == 1
    training, held_out, classes, patients = fitted[0]
    assert (len(training.images), len(held_out.images), classes) == (40, 20, 2)
    assert patients == [*data.private[0].patients, *data.private[1].patients]
    other = load_data(data.spec.model_copy(update={"partition": 1}), Silent())
    linear_utility_of(other)
    assert len(fitted) == 2


def test_patients_decide_the_folds_where_they_are_known(data: Data) -> None:
    one_patient = tuple(
        replace(part, patients=np.zeros(len(part), np.int64)) for part in data.private
    )
    together = linear_utility_of(replace(data, private=one_patient))
    unknown = tuple(replace(part, patients=None) for part in data.private)
    assert linear_utility_of(replace(data, private=unknown)) == linear_utility_of(data)
    assert together != linear_utility_of(data)
