"""Posts, professional ranks, degrees and subjects."""

from __future__ import annotations

import random
from collections.abc import Callable

from .people import province, town
from .wordlists import Weighted, listed, weighted, words

Word = Callable[[random.Random], str]
ORDINALS = "一二三四五六七八九十"
BOARD, CHIEFS, PARTY, TECH = (
    weighted("posts_board"),
    weighted("posts_chief"),
    weighted("posts_party"),
    weighted("posts_tech"),
)
SESSIONED = {
    "董事",
    "董事长",
    "独立董事",
    "副董事长",
    "非独立董事",
    "执行董事",
    "监事会主席",
    "监事",
    "职工监事",
    "职工代表监事",
}
DEPARTMENTS = words("departments")
HEADS = {
    "部": listed(
        "部长 部长 副部长 经理 经理 经理 副经理 总经理 副总经理 主任 总监 主管 助理 高级经理 经理助理 职员 "
        "会计 部长助理 业务主管"
    ),
    "处": listed("处长 处长 处长 副处长 副处长 科长 主任科员 干部"),
    "科": listed("科长 科长 科长 副科长 副科长 科员 技术员 会计"),
    "室": listed("主任 主任 主任 副主任 副主任 秘书 科员 主管 文秘"),
    "心": listed("主任 主任 副主任 总监 总经理 副总经理 经理 常务副主任 技术总监 工程师"),
    "间": listed("主任 主任 副主任 技术员 工艺员 党支部书记 工人 统计员"),
    "厂": listed("厂长 厂长 副厂长 厂长助理 党支部书记"),
    "所": listed("所长 副所长 工程师 副总工程师 研究员 主任工程师"),
    "区": listed("总经理 经理 销售总监 销售经理 总监 负责人 市场部经理"),
    "会": listed("主席 副主席 干事 委员"),
    "委": ["书记", "副书记", "干事"],
    "办": ["主任", "副主任", "秘书"],
    "司": ["经理", "总经理", "副经理"],
}
"""Last character of a department to the posts in it."""
FIELDS = listed(
    "财务 营销 销售 市场 人力资源 行政 技术 运营 生产 研发 投资 品牌 战略 法务 审计 质量 采购 供应链 设计 "
    "项目 信息 商务 产品 工程 制造 内控 创意 风控"
)
PRODUCTS = words("industries_short")


def board_post(draw: random.Random) -> str:
    """A seat on the board or among the supervisors, sometimes with its session."""
    seat = BOARD.pick(draw)
    chance = draw.random()
    if seat not in SESSIONED or chance > 0.12:
        return seat
    body = "监事会" if "监事" in seat else "董事会"
    if chance < 0.09:
        return f"第{draw.choice(ORDINALS[:8])}届{body}{seat.removeprefix('监事会')}"
    return f"{body}成员" if chance < 0.1 else body + seat.removeprefix("监事会")


def chief_post(draw: random.Random) -> str:
    """A post at the head of a firm."""
    chief = CHIEFS.pick(draw)
    chance = draw.random()
    if chief.startswith("副总") and chance < 0.2:
        return draw.choice(listed("常务 常务 高级 执行 第一 资深")) + chief
    if chief in ("总经理", "总裁", "总工程师", "财务总监") and chance < 0.06:
        return draw.choice(("代", "代理", "副", "执行", "联席")) + chief
    if chance > 0.94:
        return draw.choice(FIELDS) + draw.choice(listed("总监 总监 副总监 副总裁 副总经理 总监助理"))
    return chief


def department_post(draw: random.Random) -> str:
    """A post in a department, the department with it: 财务部副经理."""
    department = draw.choice(DEPARTMENTS)
    chance = draw.random()
    if chance < 0.06:
        department = f"{draw.choice(FIELDS)}{draw.choice('一二三')}{draw.choice(('部', '处', '科'))}"
    elif chance < 0.12:
        department = (
            f"{draw.choice(PRODUCTS)}{draw.choice(listed('事业部 部 项目部 车间 分厂 销售部 研究所 产品部'))}"
        )
    elif chance < 0.16:
        department = f"{town(draw)}{draw.choice(listed('办事处 分公司 项目部 区 营业部 销售部'))}"
    head = draw.choice(HEADS.get(department[-1], HEADS["部"]))
    if draw.random() < 0.02:
        head = draw.choice(("代理", "常务副", "执行")) + head.removeprefix("副")
    return department + head


def section_post(draw: random.Random) -> str:
    """A lesser post: half with a department, half without."""
    return department_post(draw) if draw.random() < 0.6 else TECH.pick(draw)


_COMPANY: Weighted[Word] = Weighted(
    ((30, board_post), (34, chief_post), (24, department_post), (10, TECH.pick), (6, PARTY.pick))
)
_HEAD: Weighted[Word] = Weighted(((52, board_post), (38, chief_post), (5, department_post), (5, PARTY.pick)))


def company_post(draw: random.Random) -> str:
    """Any post in a firm."""
    return _COMPANY.pick(draw)(draw)


def leading_post(draw: random.Random) -> str:
    """A post as annual reports give it to whom they describe: on the board or at the head mostly."""
    return _HEAD.pick(draw)(draw)


OFFICE_HEADS = {
    "处": listed("处长 副处长 主任科员 副主任科员 干部 科员 调研员"),
    "司": listed("司长 副司长 处长 副处长 巡视员 主任科员"),
    "科": listed("科长 副科长 科员 办事员"),
    "局": ["局长", "副局长", "科长"],
    "部": listed("部长 副部长 处长 干部"),
    "站": ["站长", "副站长"],
    "所": ["所长", "副所长", "专管员"],
}
ACADEMIC = weighted("posts_academic")
UNIVERSITY_OFFICES = listed(
    "科研处 教务处 研究生处 财务处 社会科学处 人事处 会计系 金融系 机械系 管理系 研究生部 产业处 "
    "校长办公室 财务管理教研室"
)


def agency_post(draw: random.Random) -> str:
    """A post in a public body, nearly half with its office."""
    if draw.random() < 0.6:
        return draw.choice(words("posts_government"))
    office = draw.choice(words("offices"))
    return office + draw.choice(OFFICE_HEADS.get(office[-1], ["主任", "副主任", "干部"]))


def academic_post(draw: random.Random) -> str:
    """A post at a university; a subject or an office may join it."""
    post = ACADEMIC.pick(draw)
    if post in ("教授", "副教授", "讲师") and draw.random() < 0.1:
        return subject(draw) + post
    if draw.random() < 0.08:
        office = draw.choice(UNIVERSITY_OFFICES)
        return office + draw.choice(("处长", "副处长") if office[-1] == "处" else ("主任", "副主任"))
    return post


def _either(first: Word, second: Word, share: float) -> Word:
    return lambda draw: (first if draw.random() < share else second)(draw)


def _listed(name: str) -> Word:
    names = words(name)
    return lambda draw: draw.choice(names)


POSTS: dict[str, Word] = {
    "company": company_post,
    "factory": _either(weighted("posts_works").pick, department_post, 0.7),
    "bank": _either(_listed("posts_bank"), department_post, 0.85),
    "finance": _either(_listed("posts_finance"), department_post, 0.85),
    "law": _listed("posts_law"),
    "accounting": _listed("posts_audit"),
    "university": academic_post,
    "school": _listed("posts_school"),
    "hospital": _listed("posts_hospital"),
    "institute": _listed("posts_research"),
    "agency": agency_post,
    "association": _listed("posts_society"),
    "military": _listed("posts_military"),
    "media": _listed("posts_media"),
    "village": _listed("posts_village"),
    "county": _listed("posts_county"),
}
"""Kind of organisation (`organisations.KINDS`) to its posts."""
_ANY = tuple(POSTS.values())


def post_in(draw: random.Random, kind: str) -> str:
    """A post that an organisation of this kind has."""
    return POSTS[kind](draw)


def post(draw: random.Random) -> str:
    """Any post, as an executive's career mixes them."""
    return company_post(draw) if draw.random() < 0.7 else draw.choice(_ANY)(draw)


RANKS = words("ranks")
GRADES = listed("高级 高级 高级 高级 助理 正高级 教授级高级 研究员级高级 教授级 提高待遇高级 主任")
CRAFTS = listed(
    "工程师 工程师 工程师 工程师 会计师 经济师 政工师 统计师 审计师 农艺师 国际商务师 工艺美术师 建筑师 "
    "规划师 实验师 畜牧师"
)
CHARTERED = listed(
    "注册会计师 注册会计师 注册税务师 执业律师 注册内部审计师 注册资产评估师 特许公认会计师 "
    "注册管理会计师 注册金融分析师"
)


def rank(draw: random.Random) -> str:
    """A professional rank or qualification: 高级工程师, 注册会计师."""
    chance = draw.random()
    if chance < 0.3:
        grade, craft = draw.choice(GRADES), draw.choice(CRAFTS)
        return ("高级" if grade in ("主任", "提高待遇高级") and craft != "工程师" else grade) + craft
    if chance < 0.38:
        return draw.choice(listed("中国 中国 美国 香港 英国 澳洲 加拿大 国际")) + draw.choice(CHARTERED)
    return draw.choice(RANKS)


STANDINGS = (
    *(["中共党员"] * 20),
    *listed("中国共产党党员 共产党员 中共预备党员 民建会员 民盟盟员 九三学社社员 民革党员 致公党党员 农工党党员"),
)


def standing(draw: random.Random) -> str:
    """Party membership and the like, which count as TITLE."""
    return draw.choice(STANDINGS)


def deputy(draw: random.Random) -> str:
    """A deputy to a people's congress, with place and session: 第十届江苏省人大代表."""
    number = draw.choice(listed("六 七 八 九 十 十一 十二 十三"))
    session = f"第{number}届" if draw.random() < 0.6 else ""
    where = draw.choice(
        ("全国", province(draw), province(draw), town(draw) + "市", town(draw) + "县", town(draw), "")
    )
    seat = draw.choice(("人大代表", "人大代表", "人大代表", "人民代表大会代表", "人民代表大会代表"))
    if draw.random() < 0.08:
        return f"中共{where.replace('全国', '')}{session}党代会代表" if where else f"{session}党代会代表"
    return draw.choice((session + where, where + session)) + seat


SUBJECTS = words("subjects")


def subject(draw: random.Random) -> str:
    """A field of study, without the word 专业."""
    name = draw.choice(SUBJECTS)
    if draw.random() < 0.02:
        return f"{name}（{draw.choice(SUBJECTS)}方向）"
    return name


DEGREES = weighted("degrees")
DEGREE_FIELDS = words("degree_fields")
FIELD_DEGREES = listed(
    "硕士 硕士 硕士 硕士 博士 博士 博士 学士 硕士学位 硕士学位 博士学位 学士学位 硕士研究生 "
    "硕士研究生学历 博士研究生"
)


def degree(draw: random.Random) -> str:
    """A level of schooling or a degree."""
    return DEGREES.pick(draw)


def field_and_degree(draw: random.Random) -> tuple[str, str]:
    """A degree with the field that its name holds: (工学, 博士)."""
    chance = draw.random()
    field = "工商管理" if chance < 0.15 else draw.choice(DEGREE_FIELDS if chance < 0.8 else SUBJECTS)
    return field, draw.choice(FIELD_DEGREES)
