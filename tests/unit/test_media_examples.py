"""The examples of a text and an image are explained, and the pages that they draw need nothing else."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from deploy.examples import media_models
from deploy.examples.explain_media import main

GUIDE = Path(__file__).resolve().parents[2] / "deploy/guides/explanations.md"


def run(kind: str, picture: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    monkeypatch.setattr(sys, "argv", ["explain_media", kind, "--picture", str(picture)])
    main()
    return capsys.readouterr().out.replace(str(picture), "why.html")


def features(told: str) -> list[str]:
    """What is named, in order; digits of the weights depend on the machine."""
    return re.findall(r"^  (\S.*?) +[+-]\d", told, re.MULTILINE)


def test_text_that_was_misread_is_explained_by_words_as_the_guide_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told = run("text", tmp_path / "text.html", monkeypatch, capsys)
    assert "wrong." in told
    assert set(features(told)[:2]) == set(features(block("-m deploy.examples.explain_media text"))[:2])
    page = (tmp_path / "text.html").read_text()
    assert all(f">{word}</mark>" in page for word in features(told))


def test_digit_that_was_misread_is_explained_on_top_of_its_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told = run("image", tmp_path / "image.html", monkeypatch, capsys)
    assert "wrong." in told
    assert 6 == len(features(told))
    page = (tmp_path / "image.html").read_text()
    assert '<image href="data:image/png;base64,' in page
    assert 6 == page.count("fill-opacity")
    assert "<script" not in page


def test_models_are_right_most_of_the_time() -> None:
    sentences = media_models.sentences()[:: media_models.HELD_OUT]
    answers = media_models.subject([text for text, _ in sentences]).argmax(axis=1)
    right = [media_models.SUBJECTS[answer] == truth for answer, (_, truth) in zip(answers, sentences, strict=True)]
    assert sum(right) > 0.8 * len(right)


def block(command: str) -> str:
    """The output that the guide shows under a command."""
    (found,) = re.findall(rf"{re.escape(command)}[^\n]*\n\n```text\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    return str(found)
