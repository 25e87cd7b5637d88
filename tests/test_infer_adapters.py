"""Several runs on one base: each answers as it does alone, whoever answered before."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from rich.console import Console
from safetensors.torch import save_file

import yuantune
from tests.test_methods_runs import METHODS as OPTIONS
from yuantune.config import Config
from yuantune.data.record import Prediction, Record, Source
from yuantune.errors import DataError, RunError, UserError
from yuantune.infer.adapters import Adapters
from yuantune.infer.extractor import Extractor
from yuantune.methods import METHODS
from yuantune.models.load import load_model, load_tokenizer
from yuantune.train.prepare import prepare_data
from yuantune.train.run import card_of, method_options

RUNS = {
    **{name: OPTIONS[name] for name in ("lora-dora", "lora-plus", "houlsby", "parallel", "ia3", "freeze")},
    **{name: OPTIONS[name] for name in ("prompt", "prefix", "p")},
    "lora": {"method": "lora", "lora": {"r": 2}},
}
"""One of each way in which a method changes a base, and two of some."""
TEXTS = ["张三,汉族,金融学硕士。", "李四,回族", "王五,任江州云陌公司董事,大专学历,1970年生。"]


def write_run(model: Path, data: Path, out: Path, name: str) -> None:
    """A run as if it had been trained: every trained number is moved."""
    config = Config.model_validate(
        {
            "output_dir": str(out),
            "template": "resume-ner" if len(name) % 2 else "extract",
            "model": {"name": str(model), "device_map": "cpu", "dtype": "float32"},
            "data": {"train": str(data), "max_length": 2048},
            "generate": {"max_new_tokens": 6},
            **RUNS[name],
        }
    )
    tokenizer = load_tokenizer(str(model))
    card_of(config, prepare_data(config, tokenizer, Console(quiet=True))).save(out)
    method = METHODS[config.method]
    torch.manual_seed(len(name))
    tuned = method.apply(load_model(str(model), device_map="cpu"), method_options(config), tokenizer)
    for parameter in tuned.parameters():
        if parameter.requires_grad:
            parameter.data += 0.3 * torch.randn_like(parameter)
    method.save(tuned, out / method.FOLDER)


class Written(NamedTuple):
    """Runs on one base, each of another method, and what each answers alone."""

    runs: dict[str, Path]
    alone: dict[str, list[str]]


@pytest.fixture(scope="module", params=["yuan", "llama"])
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Written:
    folder = tmp_path_factory.mktemp(request.param)
    model = request.getfixturevalue(f"{request.param}_folder")
    data = folder / "rows.jsonl"
    rows = [{"text": text, "labels": {"姓名": [text[:2]]}} for text in TEXTS]
    data.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    for name in RUNS:
        write_run(model, data, folder / name, name)
    runs = {name: folder / name for name in RUNS}
    return Written(runs, {name: answers(yuantune.load(run)) for name, run in runs.items()})


@pytest.fixture
def runs(written: Written) -> dict[str, Path]:
    return written.runs


@pytest.fixture
def alone(written: Written) -> dict[str, list[str]]:
    return written.alone


def answers(extractor: Extractor) -> list[str]:
    """What the extractor says to the texts: freely, by `generate`, and held to labels."""
    extractor.set(constrain=False)
    found = [extractor.generate(text) for text in TEXTS]
    extractor.slots = False
    found.append(extractor.generate(TEXTS[0]))
    extractor.set(constrain=True, slots=True)
    return [*found, extractor.generate(TEXTS[1])]


def test_each_answers_as_alone(written: Written) -> None:
    runs, alone = written
    assert len({str(each) for each in alone.values()}) > len(RUNS) // 2, "the runs answer alike"
    adapters = yuantune.Adapters(runs)
    with adapters.using(None) as base:
        before = {name: each.clone() for name, each in base.state_dict().items()}
    for name in [*RUNS, "lora", "houlsby", "prefix", "freeze", "houlsby", "parallel", "prompt", "lora"]:
        assert answers(adapters[name]) == alone[name], name
    with adapters.using(None) as again:
        assert again is base
    assert base.state_dict().keys() == before.keys()
    assert all(torch.equal(each, before[name]) for name, each in base.state_dict().items())


def test_logits_are_those_of_the_run_alone(runs: dict[str, Path]) -> None:
    """Bit for bit; and off, the base's."""
    ids = torch.tensor([[5, 9, 3, 12, 7, 7, 30, 2, 11]])
    adapters = Adapters(runs)

    def logits(model: Any) -> torch.Tensor:
        with torch.no_grad():
            found: torch.Tensor = model(input_ids=ids).logits
        return found

    with adapters.using(None) as base:
        bare = logits(base)
    for name in runs:
        with adapters.using(name) as model:
            assert torch.equal(logits(model), logits(yuantune.load(runs[name], merge=False).model)), name
            assert not torch.equal(logits(model), bare), name
        with adapters.using(None) as base:
            assert torch.equal(logits(base), bare), name


def test_records_name_their_adapter(runs: dict[str, Path], alone: dict[str, list[str]]) -> None:
    names = ["lora", "parallel", "prompt", "freeze"]
    adapters = Adapters({name: runs[name] for name in names})
    for each in adapters.values():
        each.constrain = False
    asked = [
        Record(Source("in", at), text, adapter=name)
        for at, (text, name) in enumerate([(text, name) for text in TEXTS for name in ("", *names)], 1)
    ]
    seen: list[Prediction] = []
    found = list(adapters.predict(asked, chunk=7, on_answer=seen.append))
    assert [each.source for each in found] == [each.source for each in asked]
    assert [each.adapter for each in found] == [each.adapter or "lora" for each in asked]
    assert sorted(each.source.line for each in seen) == [each.source.line for each in asked]
    assert [each.raw for each in found] == [alone[each.adapter][TEXTS.index(each.text)] for each in found]


def test_records_that_name_none_there(runs: dict[str, Path]) -> None:
    adapters = Adapters({"lora": runs["lora"]})
    asked = [Record(Source("in", at), TEXTS[1], adapter=name) for at, name in enumerate(("lora", "lorra", "p"), 1)]
    with pytest.raises(DataError, match="2 of 3 rows name an adapter that is not there") as error:
        list(adapters.predict(asked))
    assert "in:2: there is no adapter 'lorra' (did you mean 'lora'?)" in str(error.value)
    found = list(adapters.predict(asked, keep_going=True))
    assert [bool(each.error) for each in found] == [False, True, True]


def test_within_an_answer_another_one_answers(runs: dict[str, Path], alone: dict[str, list[str]]) -> None:
    """What is told of an answer may ask another run; the first one goes on as itself."""
    adapters = Adapters({name: runs[name] for name in ("lora", "houlsby", "prefix")})
    for each in adapters.values():
        each.set(constrain=False, batch_size=1)
    asked = [Record(Source("in", at), text) for at, text in enumerate(TEXTS, 1)]
    others: list[str] = []
    found = adapters["lora"].predict(
        asked, on_answer=lambda each: others.append(adapters.generate(each.text, "houlsby"))
    )
    assert [each.raw for each in found] == alone["lora"][:3]
    assert sorted(others) == sorted(alone["houlsby"][:3])


def test_threads_take_turns(runs: dict[str, Path], alone: dict[str, list[str]]) -> None:
    adapters = Adapters({name: runs[name] for name in ("lora", "houlsby")})
    for each in adapters.values():
        each.constrain = False
    found: dict[str, list[str]] = {}

    def ask(name: str) -> None:
        found[name] = [adapters.generate(text, name) for text in TEXTS]

    threads = [threading.Thread(target=ask, args=(name,)) for name in adapters]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {name: alone[name][:3] for name in adapters}


@pytest.fixture
def copied(runs: dict[str, Path], tmp_path: Path) -> Iterator[Any]:
    """A run's folder whose card can be made to say something else."""

    def copy(part: str, **changes: Any) -> Path:
        folder = tmp_path / f"copy{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        (folder / "adapter").symlink_to(runs["lora"] / "adapter")
        card = json.loads((runs["lora"] / "yuantune.json").read_text("utf-8"))
        card[part] |= changes
        (folder / "yuantune.json").write_text(json.dumps(card), encoding="utf-8")
        return folder

    yield copy


def test_runs_of_other_bases_are_refused_all_at_once(runs: dict[str, Path], copied: Any) -> None:
    others = {
        "elsewhere": copied("base", name="/models/other"),
        "later": copied("base", revision="v2"),
        "changed": copied("base", weights={"model.safetensors": "0"}),
        "wide": copied("model", dtype="float64"),
        "eager": copied("model", attn_implementation="eager"),
    }
    with pytest.raises(RunError, match="cannot share one base") as error:
        Adapters({"lora": runs["lora"], **others})
    told = {each.where: each.what for each in error.value.problems}
    assert list(told) == [str(each) for each in others.values()]
    for run, what in zip(
        told.values(),
        ("its base is /models/other, that of", "of revision v2", "another weights", "in float64", "is eager"),
        strict=True,
    ):
        assert what in run
    adapters = Adapters({"lora": runs["lora"]})
    with pytest.raises(RunError, match="computes in float64"):
        adapters.add("wide", others["wide"])
    assert list(adapters) == ["lora"] and adapters.generate(TEXTS[0], "lora")
    assert list(Adapters({"lora": runs["lora"], "wide": others["wide"]}, dtype="float32")) == ["lora", "wide"]


def test_a_model_of_its_own_is_refused(runs: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "full"
    folder.mkdir()
    card = json.loads((runs["lora"] / "yuantune.json").read_text("utf-8")) | {"method": "full", "options": {}}
    (folder / "yuantune.json").write_text(json.dumps(card), encoding="utf-8")
    with pytest.raises(RunError, match="trained by full: every weight was trained"):
        Adapters({"lora": runs["lora"], "full": folder})


def test_a_damaged_adapter_leaves_the_others_alone(
    runs: dict[str, Path], alone: dict[str, list[str]], tmp_path: Path
) -> None:
    adapters = Adapters({"lora": runs["lora"]})
    adapters["lora"].constrain = False
    for name in ("ia3", "houlsby", "freeze"):
        folder = tmp_path / name
        (folder / "adapter").mkdir(parents=True)
        for file in ("yuantune.json", *(f"adapter/{path.name}" for path in (runs[name] / "adapter").iterdir())):
            (folder / file).write_bytes((runs[name] / file).read_bytes())
        for weights in (folder / "adapter").glob("*.safetensors"):
            save_file({"base_model.model.strange": torch.zeros(3)}, str(weights))
        with pytest.raises((RunError, UserError)):
            adapters.add(name, folder)
        assert list(adapters) == ["lora"] and adapters.generate(TEXTS[0], "lora") == alone["lora"][0]


def test_names(runs: dict[str, Path], alone: dict[str, list[str]]) -> None:
    adapters = Adapters()
    with pytest.raises(UserError, match="no run yet"), adapters.using(None):
        pass
    adapters.add("one.of/them", runs["houlsby"])
    with pytest.raises(UserError, match=r"there is an adapter 'one\.of/them' already"):
        adapters.add("one.of/them", runs["lora"])
    with pytest.raises(UserError, match="there is no adapter 'two'"):
        adapters.extract(TEXTS[0], "two")
    adapters["one.of/them"].constrain = False
    assert adapters.generate(TEXTS[0], "one.of/them") == alone["houlsby"][0]
    assert "one.of/them" in adapters and len(adapters) == 1
