"""Templates: the prompts that ship, and how prompt and answer become ids under each kind of tokenizer."""

from __future__ import annotations

import functools
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken

from tests import tiny_tokenizers as tiny
from yuantune.data.bound import BoundTemplate
from yuantune.data.examples import Example
from yuantune.data.labels import LabelSchema, canonical
from yuantune.data.record import Labels, Message, Record, Source
from yuantune.data.template import Template, builtin_names, choose_template, load_template
from yuantune.errors import TemplateError
from yuantune.models.load import load_tokenizer

TEXT = "张三,汉族,金融学硕士。"
RESUME_NER = (
    "# 任务描述\n假设你是一个AI简历助手,能从简历中识别出所有的命名实体,并以json格式返回结果。\n\n"
    "# 任务要求\n实体的类别包括:姓名、国籍、种族、职位、教育背景、专业、组织名、地名。\n"
    "返回的json格式是一个字典,其中每个键是实体的类别,值是一个列表,包含实体的文本。\n\n"
    '# 样例\n输入:\n张三,男,中国籍,工程师\n输出:\n{"姓名": ["张三"], "国籍": ["中国"], "职位": ["工程师"]}\n\n'
    "# 当前简历\n张三,汉族,金融学硕士。\n\n"
    "# 任务重述\n请参考样例,按照任务要求,识别出当前简历中所有的命名实体,并以json格式返回结果。"
)
LABELS = {"专业": ["金融学"], "种族": ["汉族"], "姓名": ["张三"], "教育背景": ["硕士"]}
ANSWER = '{"姓名": ["张三"], "种族": ["汉族"], "教育背景": ["硕士"], "专业": ["金融学"]}'


def row(
    text: str = TEXT,
    *,
    labels: Labels | None = None,
    output: str | None = None,
    instruction: str = "",
    messages: tuple[Message, ...] = (),
) -> Record:
    return Record(Source("rows.jsonl", 1), text, labels, output, instruction, messages)


def chat(*turns: str) -> tuple[Message, ...]:
    """`chat("u: hello", "a: hi")`."""
    roles: dict[str, Any] = {"s": "system", "u": "user", "a": "assistant"}
    return tuple(Message(roles[turn[0]], turn[3:]) for turn in turns)


def parts(bound: BoundTemplate, example: Example) -> list[tuple[bool, str]]:
    """Stretches of masked and supervised tokens, decoded."""
    stretches: list[tuple[bool, list[int]]] = []
    for token, supervised in zip(example.ids, example.supervised, strict=True):
        if not stretches or stretches[-1][0] != supervised:
            stretches.append((supervised, []))
        stretches[-1][1].append(token)
    return [(supervised, bound.decode_answer(ids)) for supervised, ids in stretches]


def yuan_like() -> Any:
    """A byte-level tokenizer with Yuan2's ends."""
    return tiny.byte_level(["<s>", "</s>", "<sep>", "<eod>"], eos_token="<eod>")


# ------------------------------------------------------------------------------------------------ what ships


def test_resume_ner_is_the_tutorials_prompt() -> None:
    template = load_template("resume-ner")
    assert template.render(row()) == RESUME_NER
    assert not set(RESUME_NER) & set("，：“”；？！（）"), "half-width punctuation, as in the data row"
    types = ("姓名", "国籍", "种族", "职位", "教育背景", "专业", "组织名", "地名")
    assert template.label_schema.types == types
    codes = ("NAME", "CONT", "RACE", "TITLE", "EDU", "PRO", "ORG", "LOC")
    assert template.label_schema.codes == dict(zip(codes, types, strict=True))


def test_every_built_in_loads_and_survives_saving() -> None:
    assert builtin_names() == ["chat", "extract", "extract-en", "instruction", "plain", "resume-ner"]
    for name in builtin_names():
        template = load_template(name)
        assert template.name == name and template.description
        assert Template.from_dict(template.to_dict()) == template
        assert list(Template.from_dict(template.to_dict()).labels) == list(template.labels)


def test_labels_fill_the_extraction_prompts() -> None:
    records = [row("Ann works.", labels={"person": ["Ann"]}), row("Bo in Rome", labels={"place": ["Rome"]})]
    template, schema = choose_template("auto", records)
    assert (template.name, schema.types) == ("extract-en", ("person", "place"))
    assert "types from the text: person, place.\n" in template.render(records[0])
    chinese, _ = choose_template("auto", [row(labels={"姓名": ["张三"], "种族": ["汉族"]})])
    assert chinese.name == "extract" and "类别的内容：姓名、种族。" in chinese.render(row())


@pytest.mark.parametrize(
    ("record", "name"),
    [
        (row(labels={"name": ["张三"]}), "extract"),
        (row("Ann", labels={}), "extract-en"),
        (row(output="x"), "plain"),
        (row(output="x", instruction="y"), "instruction"),
        (row(messages=chat("u: a", "a: b")), "chat"),
        (row(), "plain"),
    ],
)
def test_auto_goes_by_the_shape_of_the_records(record: Record, name: str) -> None:
    assert load_template("auto", [record]).name == name


def test_auto_refuses_to_give_labels_and_other_answers_one_prompt() -> None:
    """Under `chat`, rows with labels would lose their task; under `extract`, texts would be no answers."""
    labelled = [row(labels={"name": ["张三"]})] * 150  # The first hundred alone would not show it.
    for other in (row(messages=chat("u: a", "a: b")), row(output="prose")):
        for records in ([*labelled, other], [other, *labelled]):
            with pytest.raises(TemplateError, match="different kinds") as caught:
                choose_template("auto", records)
            assert "data convert" in caught.value.hint and len(caught.value.problems) == 2
            assert choose_template("extract", records)[0].name == "extract"
    # Rows without an answer, and answers that are labels as JSON, go with labels; texts go with conversations.
    choose_template("auto", [*labelled, row(), row(output='{"name": []}')])
    choose_template("auto", [row(output="prose"), row(messages=chat("u: a", "a: b"))])


def test_an_empty_instruction_or_input_leaves_no_line() -> None:
    template = load_template("instruction")
    assert template.render(row("b", instruction="a")) == "a\nb"
    assert template.render(row("", instruction="a")) == "a"
    assert template.render(row("b")) == "b"


def test_only_our_placeholders_are_replaced() -> None:
    template = Template(prompt='{"k": [1]} {x} {text} {labels} {schema}', labels=["a", "b"], label_separator="/")  # type: ignore[arg-type]
    assert template.render(row("{labels}")) == '{"k": [1]} {x} {labels} a/b {"a": [], "b": []}'


# ------------------------------------------------------------------------------------------------ bad templates


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("resume-nre", "did you mean 'resume-ner'"),
        ("resume-nre", "built-in templates: chat, extract"),
        ("nowhere/t.yaml", "no template file nowhere/t.yaml"),
        ({"prompt": "{txt}"}, "unknown placeholder {txt} (did you mean {text}?)"),
        ({"prompt": "{text} {Labels}"}, "did you mean {labels}?"),
        ({"prompt": "{input}"}, "did you mean {text}?"),
        ({"prompt": "hello"}, "a prompt has {text} once, not 0 times"),
        ({"prompt": "{text}{text}"}, "not 2 times"),
        ({"prompt": "{messages} {text}"}, "{messages} stands alone"),
        ({"promt": "{text}"}, "unknown field promt (did you mean 'prompt'?)"),
        ({"labels": "NAME"}, "labels: "),
        ({"labels": ["a", "a"]}, "a type is listed twice"),
        ({"labels": {"a": "X", "b": "X"}}, "code X stands for two types"),
        ({"labels": {"": "X"}}, "empty"),
        ({"answer_end": ""}, "answer_end: empty"),
        ({"name": 3, "promt": 1}, "2 problems in the template"),
        ("auto", "template auto needs records"),
    ],
)
def test_a_wrong_template_is_refused(template: Any, message: str) -> None:
    with pytest.raises(TemplateError) as caught:
        load_template(template)
    assert message in str(caught.value)


def test_a_template_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("prompt: 'Q: {text}'\nlabels: {人: [PER, P]}\n", encoding="utf-8")
    template = load_template(str(file))
    assert template.name == "mine" and template.render(row("x")) == "Q: x"
    assert template.label_schema == LabelSchema(("人",), {"PER": "人", "P": "人"})
    file.write_text("prompt: [\n", encoding="utf-8")
    with pytest.raises(TemplateError, match=r"not valid YAML\n.*mine.yaml:2"):
        load_template(file)
    file.write_bytes("prompt: 简历{text}".encode("gbk"))
    with pytest.raises(TemplateError, match="not UTF-8"):
        load_template(file)
    file.write_text("just words")
    with pytest.raises(TemplateError, match="no fields"):
        load_template(file)


def test_a_template_that_needs_types_says_so() -> None:
    with pytest.raises(TemplateError, match="asks for label types"):
        load_template("extract").bind(yuan_like())


# ------------------------------------------------------------------------------------------------ framing: tokens


def test_prompt_and_sep_are_masked_answer_and_eod_supervised() -> None:
    bound = load_template("resume-ner").bind(yuan_like())
    example = bound.example(row(labels=LABELS))
    assert parts(bound, example) == [(False, RESUME_NER + "<sep>"), (True, ANSWER + "<eod>")]
    prompt = bound.prompt(row())
    assert example.ids[: len(prompt.ids)] == prompt.ids
    assert example.text_span == prompt.text_span
    assert bound.decode_answer(example.ids[slice(*example.text_span)]) == TEXT
    assert bound.preview(row()) == RESUME_NER + "<sep>"
    assert bound.end_ids == (bound.end_id,) == (bound.tokenizer.convert_tokens_to_ids("<eod>"),)
    assert bound.framing() == {"kind": "tokens", "prompt_end": "<sep>", "answer_end": "<eod>", "begin": None}


def test_yuan2_tokenises_prompt_and_answer_apart(test_data: Path) -> None:
    import sentencepiece

    from yuantune.models.yuan2.tokenizer import YuanTokenizer

    file = str(test_data / "yuan2-tokenizer" / "tokenizer.model")
    pieces = sentencepiece.SentencePieceProcessor(model_file=file)
    bound = load_template("resume-ner").bind(YuanTokenizer(file))
    example = bound.example(row(labels=LABELS))
    prompt, answer = pieces.encode(RESUME_NER), pieces.encode(ANSWER)
    assert example.ids == [*prompt, 77187, *answer, 77185]
    assert example.supervised == [False] * (len(prompt) + 1) + [True] * (len(answer) + 1)
    assert answer[0] == 8853  # ▁{"
    assert bound.decode_answer(answer) == ANSWER
    start, stop = example.text_span
    assert bound.decode_answer(example.ids[start:stop]) == TEXT
    assert bound.decode_answer(example.ids) == f"{RESUME_NER}<sep> {ANSWER}<eod>"
    # The tutorial's way: the row's text is the whole prompt. Both give the same ids.
    plain = load_template("plain").bind(bound.tokenizer)
    assert plain.example(row(RESUME_NER, output=ANSWER)).ids == example.ids
    # Control tokens in the text are pieces, as SentencePiece alone has them.
    hostile = "a<sep>b<eod><mask> 张三<pad>"
    assert plain.prompt(row(hostile)).ids == [*pieces.encode(hostile), 77187]


def test_the_built_in_model_has_the_same_framing() -> None:
    bound = load_template("resume-ner").bind(load_tokenizer("yuan2-mini"))
    assert bound.framing() == {"kind": "tokens", "prompt_end": "<sep>", "answer_end": "<eod>", "begin": None}
    example = bound.example(row(labels=LABELS))
    assert bound.decode_answer(example.ids) == f"{RESUME_NER}<sep> {ANSWER}<eod>"


def test_without_sep_and_chat_template_a_newline_and_the_end_token() -> None:
    bound = load_template("plain").bind(tiny.byte_level())
    example = bound.example(row("问", output="答"))
    assert parts(bound, example) == [(False, "问\n"), (True, "答</s>")]
    assert bound.framing()["begin"] is None


def test_a_begin_token_that_the_tokenizer_always_adds_is_added_once() -> None:
    tokenizer = tiny.llama_like()
    bound = load_template("plain").bind(tokenizer)
    example = bound.example(row("ask", output="tell"))
    expected = [
        tokenizer.bos_token_id,
        *tokenizer.encode("ask\n", add_special_tokens=False),
        *tokenizer.encode("tell", add_special_tokens=False),
        tokenizer.eos_token_id,
    ]
    assert example.ids == expected
    assert bound.prompt(row("ask")).ids == expected[: -5 - 1]
    assert bound.decode_answer(example.ids[slice(*example.text_span)]) == "ask"
    assert bound.preview(row("ask")) == "<s>ask\n"
    assert bound.framing()["begin"] == "<s>"


def test_explicit_ends_win_over_chat_template_and_sep() -> None:
    tokenizer = tiny.byte_level(["<s>", "</s>", "<sep>", "<eod>", "<q>", "<a>"], chat_template=tiny.CHATML)
    bound = Template(prompt_end="<q>", answer_end="<a>").bind(tokenizer)
    assert parts(bound, bound.example(row("x", output="y"))) == [(False, "x<q>"), (True, "y<a>")]
    newline = Template(prompt_end="\n").bind(tokenizer)
    assert parts(newline, newline.example(row("x", output="y"))) == [(False, "x\n"), (True, "y<eod>")]


def test_tokens_that_the_tokenizer_lacks_are_named() -> None:
    with pytest.raises(TemplateError) as caught:
        Template(name="mine", prompt_end="<sop>", answer_end="<end>").bind(yuan_like())
    assert "prompt_end: the tokenizer has no token '<sop>' (did you mean '<sep>'?)" in str(caught.value)
    assert "answer_end" in str(caught.value) and "<eod>" in caught.value.hint


def test_a_template_may_write_control_tokens_itself() -> None:
    bound = Template(prompt="<s>[{text}]<s>").bind(yuan_like())
    begin = bound.tokenizer.convert_tokens_to_ids("<s>")
    ids = bound.prompt(row("<s>")).ids
    assert [ids[0], ids[-2]] == [begin, begin] and ids.count(begin) == 2
    assert bound.decode_answer(ids) == "<s>[<s>]<s><sep>"


def test_no_control_token_arises_where_template_and_text_meet() -> None:
    bound = Template(prompt="<s{text}p>").bind(yuan_like())
    ids = bound.prompt(row("e")).ids
    assert bound.decode_answer(ids) == "<sep><sep>"
    assert ids.count(bound.tokenizer.convert_tokens_to_ids("<sep>")) == 1


def test_a_sep_that_was_added_without_being_special_stays_a_control_token() -> None:
    tokenizer = tiny.byte_level(["<s>", "</s>", AddedToken("<q>", special=False, normalized=False)])
    bound = Template(prompt_end="<q>").bind(tokenizer)
    ids = bound.prompt(row("a<q>b")).ids
    assert bound.decode_answer(ids) == "a<q>b<q>" and ids.count(bound.tokenizer.convert_tokens_to_ids("<q>")) == 1


# ------------------------------------------------------------------------------------------------ framing: chat


@pytest.mark.parametrize(
    ("template", "special"),
    [
        (tiny.CHATML, ["<|im_start|>", "<|im_end|>"]),
        (tiny.LLAMA3, ["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]),
    ],
)
def test_a_chat_template_gives_the_ids_of_apply_chat_template(template: str, special: list[str]) -> None:
    tokenizer = tiny.byte_level(["<s>", "</s>", *special], chat_template=template)
    bound = load_template("resume-ner").model_copy(update={"system": "Be brief."}).bind(tokenizer)
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": RESUME_NER}]
    prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    assert bound.prompt(row()).ids == prompt
    example = bound.example(row(labels=LABELS))
    whole = tokenizer.apply_chat_template([*messages, {"role": "assistant", "content": ANSWER}], return_dict=False)
    assert example.ids == [*prompt, *tokenizer.encode(ANSWER + special[-1], add_special_tokens=False)]
    # What the template writes behind the end of turn is left out.
    assert tokenizer.decode(whole).removesuffix("\n") == tokenizer.decode(example.ids)
    assert parts(bound, example)[1:] == [(True, ANSWER + special[-1])]
    assert example.supervised.index(True) == len(prompt)
    assert bound.decode_answer(example.ids[slice(*example.text_span)]) == TEXT
    assert bound.end_ids == (tokenizer.convert_tokens_to_ids(special[-1]), tokenizer.eos_token_id)
    assert bound.preview(row()) == tokenizer.decode(prompt)


def test_every_assistant_turn_is_learnt() -> None:
    conversation = row(messages=chat("s: S", "u: one", "a: 1", "u: two", "a: 2", "u: three?"))
    tokenizer = tiny.byte_level(["<s>", "</s>", "<|im_start|>", "<|im_end|>"], chat_template=tiny.CHATML)
    bound = load_template("chat").bind(tokenizer)
    example = bound.example(conversation)
    assert parts(bound, example) == [
        (False, "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\none<|im_end|>\n<|im_start|>assistant\n"),
        (True, "1<|im_end|>"),
        (False, "\n<|im_start|>user\ntwo<|im_end|>\n<|im_start|>assistant\n"),
        (True, "2<|im_end|>"),
    ]
    assert bound.decode_answer(example.ids[slice(*example.text_span)]) == "two"
    prompt = bound.prompt(conversation)
    assert prompt.ids[: len(example.ids)] == example.ids
    assert bound.decode_answer(prompt.ids[slice(*prompt.text_span)]) == "three?"

    yuan = load_template("chat").bind(yuan_like())
    assert parts(yuan, yuan.example(conversation)) == [
        (False, "S\none<sep>"),
        (True, "1<eod>"),
        (False, "two<sep>"),
        (True, "2<eod>"),
    ]
    plain = load_template("chat").bind(tiny.byte_level())
    assert parts(plain, plain.example(conversation))[2:] == [(False, "two\n"), (True, "2</s>")]


def test_a_record_without_messages_is_one_turn_of_a_chat() -> None:
    bound = load_template("chat").bind(yuan_like())
    assert bound.preview(row("b", instruction="a")) == "a\nb<sep>"
    assert bound.preview(row("b")) == "b<sep>"
    with pytest.raises(TemplateError, match="does not fit template plain"):
        load_template("plain").bind(yuan_like()).example(row(messages=chat("u: a", "a: b")))


def test_a_chat_template_that_rewrites_earlier_turns_is_refused() -> None:
    tokenizer = tiny.byte_level(["<s>", "</s>", "<|im_start|>", "<|im_end|>"], chat_template=tiny.THINKING)
    bound = load_template("chat").bind(tokenizer)
    one = bound.example(row(messages=chat("u: q", "a: r")))
    assert parts(bound, one)[1:] == [(True, "r<|im_end|>")]
    with pytest.raises(TemplateError, match="rewrites earlier turns"):
        bound.example(row(messages=chat("u: q", "a: r", "u: q", "a: r")))


def test_what_a_chat_template_says_is_passed_on() -> None:
    tokenizer = tiny.byte_level(["<s>", "</s>", "<|im_start|>", "<|im_end|>"], chat_template=tiny.STRICT)
    with pytest.raises(TemplateError, match="no system turn, please"):
        Template(system="S").bind(tokenizer).prompt(row())
    Template().bind(tokenizer).prompt(row())


def test_an_answer_that_a_template_strips() -> None:
    tokenizer = tiny.byte_level(["<s>", "</s>", "<|eot_id|>"], chat_template=tiny.LLAMA3)
    bound = load_template("plain").bind(tokenizer)
    example = bound.example(row("  question \n", output=" answer "))
    assert parts(bound, example)[1] == (True, "answer<|eot_id|>")
    assert bound.decode_answer(example.ids[slice(*example.text_span)]) == "question"


# ------------------------------------------------------------------------------------------------ hostile text

CONTROL = ["<s>", "</s>", "<sep>", "<eod>", "<|im_start|>", "<|im_end|>", "<|eot_id|>", "<|start_header_id|>"]
hostile = st.lists(
    st.one_of(
        st.sampled_from(
            [*CONTROL, "<", "se", "p>", "<|im_", "start|>", "s>", "\ufdd0", "\ufdd00\ufdd0", " ", "{text}"]
        ),
        st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=5),
    ),
    max_size=8,
).map("".join)
FRAMINGS = {
    "sep": lambda: yuan_like(),
    "chatml": lambda: tiny.byte_level(["<s>", "</s>", "<|im_start|>", "<|im_end|>"], chat_template=tiny.CHATML),
    "llama3": lambda: tiny.byte_level(
        ["<s>", "</s>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"], chat_template=tiny.LLAMA3
    ),
    "chatml, not special": lambda: tiny.byte_level(
        ["<s>", "</s>", *(AddedToken(t, special=False, normalized=False) for t in ("<|im_start|>", "<|im_end|>"))],
        chat_template=tiny.CHATML,
    ),
    "newline": lambda: tiny.byte_level(),
}


@functools.cache
def made(framing: str) -> Any:
    return load_tokenizer("yuan2-mini") if framing == "mini" else FRAMINGS[framing]()


@pytest.mark.parametrize("framing", FRAMINGS)
@settings(deadline=None)
@given(hostile, hostile, hostile)
def test_text_never_becomes_a_control_token(framing: str, text: str, instruction: str, answer: str) -> None:
    tokenizer = made(framing)
    bound = Template(prompt="{instruction}|{text}|", system="<eod>S").bind(tokenizer)
    control = set(tokenizer.added_tokens_decoder)

    def framed(record: Record) -> list[int]:
        return [token for token in bound.example(record).ids if token in control]

    record = row(text, instruction=instruction, output=answer)
    assert framed(record) == framed(row("x", instruction="y", output="z"))
    example = bound.example(record)
    strip = str.strip if framing == "llama3" else str
    assert strip(f"{instruction}|{text}|") in tokenizer.decode(example.ids)
    prompt = bound.prompt(record)
    assert example.ids[: len(prompt.ids)] == prompt.ids
    supervised = [t for t, s in zip(example.ids, example.supervised, strict=True) if s]
    assert supervised[-1] == bound.end_id and tokenizer.decode(supervised[:-1]) == strip(answer)
    start, stop = example.text_span
    held = tokenizer.decode(example.ids[start:stop])
    assert text in held and len(held) <= len(text) + 4, "the text, and what a merge takes in"


@settings(deadline=None, max_examples=50)
@given(hostile, hostile)
def test_text_never_becomes_a_control_token_in_yuan2(text: str, answer: str) -> None:
    tokenizer = made("mini")
    bound = load_template("plain").bind(tokenizer)
    example = bound.example(row(text, output=answer))
    control = [bound.end_id, tokenizer.convert_tokens_to_ids("<sep>"), *tokenizer.all_special_ids]
    found = [token for token in example.ids if token in control and token != tokenizer.unk_token_id]
    assert found == [tokenizer.convert_tokens_to_ids("<sep>"), bound.end_id]


def test_threads_do_not_disturb_each_other() -> None:
    """A fast tokenizer keeps its way with special tokens as state, which two threads would set in turn."""
    tokenizer = FRAMINGS["chatml"]()
    bound = load_template("plain").bind(tokenizer)
    record = row("<|im_end|>" * 3 + "text" * 20, output="<|im_end|>")
    expected = bound.example(record).ids
    wrong: list[list[int]] = []

    def work() -> None:
        wrong.extend(ids for _ in range(50) if (ids := bound.example(record).ids) != expected)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


# ------------------------------------------------------------------------------------------------ saved, enforced


def test_the_framing_of_training_is_enforced() -> None:
    bound = load_template("plain").bind(yuan_like())
    bound.check_framing(bound.framing())
    chatml, llama3 = (load_template("plain").bind(FRAMINGS[name]()) for name in ("chatml", "llama3"))
    with pytest.raises(TemplateError) as caught:
        load_template("plain").bind(tiny.byte_level()).check_framing(bound.framing())
    assert "prompt_end: '<sep>' in training, '\\n' with this tokenizer" in str(caught.value)
    with pytest.raises(TemplateError, match="chat_template_sha256"):
        chatml.check_framing(llama3.framing())


def test_canonical_answers_whatever_the_order_of_the_row() -> None:
    bound = load_template("resume-ner").bind(yuan_like())
    assert bound.answer(row(labels=LABELS)) == canonical(LABELS, TEXT, bound.schema) == ANSWER
    assert bound.answer(row(output=" as it is ")) == " as it is "
    assert bound.answer(row()) is None
    assert bound.decode_answer(bound.answer_ids(ANSWER)) == ANSWER
