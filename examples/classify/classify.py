"""The model: words weighted by how telling they are, and a linear classifier over them."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline

from layer_sdk import udf


def trained() -> Pipeline:
    with Path(__file__).with_name("training.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    model = make_pipeline(TfidfVectorizer(sublinear_tf=True), LogisticRegression(C=10.0))
    return model.fit([row["text"] for row in rows], [row["topic"] for row in rows])


MODEL = trained()


@udf(batch=True)
def classify(inputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    chances = MODEL.predict_proba([one["text"] for one in inputs])
    return [
        {"topic": str(MODEL.classes_[row.argmax()]), "certainty": round(float(row.max()), 3)}
        for row in chances
    ]
