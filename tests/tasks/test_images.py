"""Pictures from folders and parquet files, made here."""

import builtins
import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mutransfer import MutransferError
from mutransfer.tasks import Task, accuracy, images, task

Image = pytest.importorskip("PIL.Image")


def png(value: int, side: int = 4) -> bytes:
    """A picture of one colour, other ones in other channels."""
    pixels = np.full((side, side, 3), [value, 2 * value, 255 - value], dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


def folder(path: Path, sides: tuple[int, ...] = (4,), count: int = 6) -> Path:
    """Two classes, named so that the alphabet is not the order of creation."""
    for label, name in enumerate(("b", "a")):
        (path / name).mkdir(parents=True)
        for i in range(count):
            side = sides[i % len(sides)]
            (path / name / f"{i}.png").write_bytes(png(10 * i + 60 * label, side))
    (path / "a" / "notes.txt").write_text("no picture")
    return path


def parquet(path: Path, columns: dict[str, Any]) -> Path:
    arrow = pytest.importorskip("pyarrow")
    pytest.importorskip("pyarrow.parquet").write_table(arrow.table(columns), path)
    return path


def test_subfolders_are_classes_by_name(tmp_path: Path) -> None:
    data = task(f"images:{folder(tmp_path / 'mine')}")
    assert data.name.startswith("mine, 12 pictures, ")
    assert data.inputs.shape == (12, 3, 4, 4) and data.inputs.dtype == torch.float32
    assert data.targets.tolist() == [0] * 6 + [1] * 6
    values = [60 + 10 * i for i in range(6)] + [10 * i for i in range(6)]
    red = torch.tensor(values).double()
    expected = (red - red.mean()) / red.std(correction=0)
    torch.testing.assert_close(data.inputs[:, 0, 0, 0].double(), expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(data.inputs[:, 2, 0, 0].double(), -expected, rtol=0, atol=1e-6)


def test_every_channel_is_standardised(tmp_path: Path) -> None:
    inputs = images(folder(tmp_path / "mine")).inputs.double()
    torch.testing.assert_close(inputs.mean((0, 2, 3)), torch.zeros(3).double(), atol=1e-6, rtol=0)
    torch.testing.assert_close(
        inputs.std((0, 2, 3), correction=0), torch.ones(3).double(), atol=1e-6, rtol=0
    )


def test_a_channel_without_contrast_is_zero(tmp_path: Path) -> None:
    (tmp_path / "grey" / "x").mkdir(parents=True)
    (tmp_path / "grey" / "x" / "0.png").write_bytes(png(9))
    assert images(tmp_path / "grey").inputs.abs().max() == 0


@pytest.mark.parametrize("names", [("img", "label"), ("image", "fine_label")])
@pytest.mark.parametrize("wrapped", [False, True], ids=["bytes", "records"])
def test_parquet_files_have_pictures_and_labels(
    tmp_path: Path, names: tuple[str, str], wrapped: bool
) -> None:
    encoded = [png(40 * i, 32) for i in range(5)]
    column = [{"bytes": raw, "path": "x"} for raw in encoded] if wrapped else encoded
    path = parquet(tmp_path / "a.parquet", {names[0]: column, names[1]: [3, 0, 1, 3, 2]})
    data = task(f"cifar10:{path}")
    assert data.inputs.shape == (5, 3, 32, 32) and data.targets.tolist() == [3, 0, 1, 3, 2]
    assert data.metrics == {"accuracy": accuracy}
    assert (data.inputs[1:, 0, 0, 0] > data.inputs[:-1, 0, 0, 0]).all()


def test_a_fraction_is_kept_apart(tmp_path: Path) -> None:
    path = folder(tmp_path / "mine")
    whole, data = images(path), images(path, validation=0.25)
    assert len(data.inputs) == 9 and len(data.validation[0]) == 3
    assert ", validation 0.25, " in data.name and data.name != whole.name
    assert data.inputs.mean().abs() < 1e-6  # of the training data alone
    kept = torch.cat([data.targets, data.validation[1]])
    assert sorted(kept.tolist()) == whole.targets.tolist()


def test_another_folder_validates_on_the_scale_of_the_first(tmp_path: Path) -> None:
    train, test = folder(tmp_path / "train"), folder(tmp_path / "test", count=3)
    data = images(train, validation=test)
    assert data.validation[1].tolist() == [0] * 3 + [1] * 3
    torch.testing.assert_close(data.validation[0][:3], data.inputs[:3])
    assert "validation test" in data.name


def test_pictures_are_scaled_to_a_size(tmp_path: Path) -> None:
    path = folder(tmp_path / "mine", sides=(4, 6))
    with pytest.raises(
        MutransferError, match=r"different sizes, such as \(4, 4\) and \(6, 6\): gi"
    ):
        images(path)
    data = images(path, size=8)
    assert data.inputs.shape == (12, 3, 8, 8) and "of side 8" in data.name


def test_pictures_travel_as_the_call_that_loads_them(tmp_path: Path) -> None:
    path = folder(tmp_path / "mine")
    data = images(path, validation=0.25)
    pickled, whole = pickle.dumps(data), images(path)
    assert len(pickled) < 400 and pickle.loads(pickled) is data and whole is images(path)
    copy = Task(**{name: getattr(data, name) for name in data.__dataclass_fields__})
    del data
    again = pickle.loads(pickled)
    assert again == copy and again is not copy


def test_pictures_that_changed_since_are_refused(tmp_path: Path) -> None:
    path = folder(tmp_path / "mine")
    pickled = pickle.dumps(images(path))
    (path / "a" / "0.png").write_bytes(png(99))
    with pytest.raises(MutransferError, match="the data is not what it was: it was 'mine, 12 pict"):
        pickle.loads(pickled)


def no_pictures(path: Path) -> Path:
    (path / "mine" / "x").mkdir(parents=True)
    return path / "mine"


def torn_picture(path: Path) -> Path:
    path = folder(path / "mine")
    (path / "a" / "0.png").write_bytes(png(1)[:40])
    return path


def torn_parquet(path: Path) -> Path:
    pytest.importorskip("pyarrow")
    (path / "a.parquet").write_bytes(b"PAR1 no")
    return path / "a.parquet"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (no_pictures, "mine has no pictures: a folder needs a subfolder of png, jpg, .* files for"),
        (torn_picture, "mine has a picture that cannot be read: "),
        (torn_parquet, "a.parquet is no parquet file that can be read: "),
        (
            lambda path: parquet(path / "a.parquet", {"x": [1], "label": [2]}),
            "has columns x, label, and none of pictures with classes: name them img and label",
        ),
        (
            lambda path: parquet(path / "a.parquet", {"img": [png(1)], "label": ["cat"]}),
            "a.parquet has labels that are no whole numbers from 0",
        ),
    ],
)
def test_what_is_no_data_set_of_pictures_is_refused(
    tmp_path: Path, make: Any, message: str
) -> None:
    with pytest.raises(MutransferError, match=message):
        images(make(tmp_path))


def test_validation_pictures_of_another_kind_are_refused(tmp_path: Path) -> None:
    train, test = folder(tmp_path / "train"), folder(tmp_path / "test", sides=(6,))
    with pytest.raises(MutransferError, match=r"pictures of test are \(6, 6\), and those of train"):
        images(train, validation=test)
    (test / "b").rename(test / "c")
    with pytest.raises(MutransferError, match="test has classes a, c, and train a, b: give pictur"):
        images(train, validation=test)


def test_cifar10_is_of_its_size(tmp_path: Path) -> None:
    with pytest.raises(MutransferError, match="has pictures of 4 by 4 and 2 classes, and CIFAR-10"):
        task(f"cifar10:{folder(tmp_path / 'mine')}")


@pytest.mark.parametrize(
    ("missing", "needed"), [("pyarrow", "reading a.parquet needs pyarrow"), ("PIL", "needs pillow")]
)
def test_a_missing_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str, needed: str
) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    path = tmp_path / "a.parquet" if missing == "pyarrow" else folder(tmp_path / "mine")
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.split(".")[0] == missing:
            raise ModuleNotFoundError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MutransferError, match=f"{needed}: pip install 'mutransfer\\[images\\]'"):
        images(path)
