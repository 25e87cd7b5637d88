"""How an exercise may be asked: names of the types, and wordings of the question."""

from __future__ import annotations

NAMES: dict[str, tuple[str, ...]] = {
    "NAME": ("姓名", "人名", "人物", "名字", "人物姓名", "人员", "人员姓名", "谁"),
    "CONT": ("国籍", "国家", "国别", "所属国家", "国籍信息", "公民身份"),
    "RACE": ("种族", "民族", "族别", "族裔", "民族成分", "所属民族"),
    "TITLE": ("职位", "职务", "头衔", "岗位", "身份", "职衔", "职务或身份", "担任职务"),
    "EDU": ("教育背景", "学历", "学位", "学历学位", "文化程度", "教育程度", "学历或学位"),
    "PRO": ("专业", "所学专业", "学科", "专业方向", "专业名称", "主修专业"),
    "ORG": ("组织名", "机构", "单位", "组织", "机构名", "组织机构", "单位名称", "组织机构名"),
    "LOC": ("地名", "籍贯", "祖籍", "出生地", "籍贯或出生地", "来自何处"),
}
"""Chinese names of the résumé types; the first is the one of the résumé template."""
ENGLISH: dict[str, tuple[str, ...]] = {
    "NAME": ("name", "NAME", "person", "PER", "Person"),
    "CONT": ("nationality", "CONT", "country", "NATIONALITY"),
    "RACE": ("ethnicity", "RACE", "ethnic group", "ETHNIC"),
    "TITLE": ("title", "TITLE", "position", "POST", "Position"),
    "EDU": ("education", "EDU", "degree", "DEGREE"),
    "PRO": ("major", "PRO", "field", "MAJOR"),
    "ORG": ("organization", "ORG", "organisation", "Organization"),
    "LOC": ("place", "LOC", "origin", "LOCATION"),
}
HINTS: dict[str, str] = {
    "NAME": "人的名字",
    "CONT": "属于哪个国家",
    "RACE": "属于哪个民族",
    "TITLE": "担任的职务或具有的身份",
    "EDU": "学历和学位",
    "PRO": "学习的专业",
    "ORG": "公司、学校等单位的名称",
    "LOC": "籍贯或出生的地方",
}
"""What a type means, for the wordings that explain."""

SHORT = (
    "{labels}\n{text}",
    "{text}\n{labels}",
    "抽取{labels}：{text}",
    "找出{labels}：\n{text}",
    "提取{labels}。\n{text}",
    "{text}\n抽取：{labels}",
    "【{labels}】{text}",
    "[{labels}]\n{text}",
    "类型：{labels}\n文本：{text}",
    "文本：{text}\n类型：{labels}",
    "{text}\n\n{labels}？",
    "{schema}\n{text}",
    "{text}\n{schema}",
    "实体类别：{labels}\n{text}",
    "以JSON列出{labels}：{text}",
    "信息抽取（{labels}）\n{text}",
    "{text}\n→ {labels}",
    "标签：{labels}\n句子：{text}",
)
"""Wordings of a few characters."""
PLAIN = (
    "从下面的文字里找出{labels}，用 JSON 回答。\n{text}",
    "请找出文中的{labels}，返回JSON。\n{text}",
    "{text}\n请列出以上文字中的{labels}，只输出JSON。",
    "识别下列文本中的{labels}，结果写成JSON字典。\n文本：{text}",
    "{text}\n以上内容提到了哪些{labels}？用JSON作答。",
    "命名实体识别。类别：{labels}。\n输入：{text}\n输出：",
    "请阅读这段话，抽取其中的{labels}。\n{text}\n以JSON格式返回。",
    "任务：实体抽取\n类别：{labels}\n内容：{text}",
    "给定文本：{text}\n按类别（{labels}）抽取原文中的词语，输出JSON。",
    "下文中出现的{labels}分别是什么？\n{text}",
    "把这句话里的{labels}摘出来：{text}",
    "文本如下：\n{text}\n需要的信息：{labels}。请用JSON给出。",
    "你是信息抽取助手。只返回JSON，键为{labels}。\n{text}",
    "请按照{schema}的格式填写，没有的类别不写。\n{text}",
    "{text}\n---\n请从上文抽取{labels}，值为列表，文字与原文一致。",
    "参照格式{schema}，从文本中抽取信息：{text}",
    "材料：“{text}”\n问题：材料里有哪些{labels}？",
    "抽取以下字段（{labels}），找不到的省略。\n{text}",
    "# 文本\n{text}\n# 要求\n抽取{labels}，返回JSON。",
    "# 类别\n{labels}\n# 文本\n{text}",
    "实体识别，类别包括:{labels}。返回json。\n{text}",
    "请标出简介里的{labels}：\n{text}",
    "输出一个JSON对象，键是类别，值是列表。类别：{labels}\n{text}",
    "从文中摘录{labels}（照抄原文，按出现顺序）。\n{text}",
)
"""Wordings of one sentence."""
ENGLISH_WORDINGS = (
    "Extract {labels} as JSON.\n{text}",
    "{text}\nList the {labels} in JSON.",
    "Types: {labels}\nText: {text}",
    "Find all entities ({labels}):\n{text}",
    "Text: {text}\nReturn JSON with keys {labels}.",
    "NER. Labels: {labels}\n{text}",
)
LISTED = (
    "请抽取以下类别：\n{types}\n文本：{text}",
    "类别：\n{types}\n\n{text}",
    "{text}\n\n需要抽取：\n{types}",
    "从文本中识别这些实体，以JSON返回。\n{types}\n文本：\n{text}",
    "字段说明：\n{types}\n待处理文本：{text}",
)
"""Wordings with a line for each type; `{types}` is put in before the template is made."""
WITH_EXAMPLE = (
    "抽取{labels}。\n例：{example}\n答：{answer}\n文本：{text}",
    "# 类别\n{labels}\n\n# 样例\n输入:\n{example}\n输出:\n{answer}\n\n# 当前文本\n{text}",
    "类别：{labels}\n输入：{example}\n输出：{answer}\n输入：{text}\n输出：",
    "参考样例抽取{labels}，以JSON返回。\n样例：{example}\n结果：{answer}\n现在：{text}",
    "{labels}\n{example}\n{answer}\n\n{text}",
)
"""Wordings with another text and its answer. That alone would not tell types which it lacks: all name the types."""
