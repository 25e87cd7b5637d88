"""Names of what is no firm: universities, hospitals, institutes, public bodies, societies, the press, villages."""

from __future__ import annotations

import random

from .firms import INDUSTRIES, Brands
from .people import country, province, region, town, transliterated_name, with_suffix
from .wordlists import any_character, listed, words


def university(draw: random.Random) -> str:
    """A university or college, at home mostly."""
    chance = draw.random()
    if chance < 0.6:
        return draw.choice(words("universities"))
    if chance < 0.82:
        kind = draw.choice(words("college_kinds"))
        return (region(draw) if draw.random() < 0.6 else town(draw)) + kind
    return university_abroad(draw)


def university_abroad(draw: random.Random) -> str:
    """A foreign university, with or without its country, in Chinese or Latin letters."""
    if draw.random() < 0.07:
        return draw.choice(words("universities_latin"))
    name = draw.choice(words("universities_abroad"))
    if draw.random() < 0.15:
        name = transliterated_name(draw).replace("·", "")[:5] + draw.choice(
            listed("大学 大学 理工大学 商学院 州立大学 学院")
        )
    return (country(draw) if draw.random() < 0.6 else "") + name + draw.choice(("", "", "", "", "商学院", "法学院"))


def faculty(draw: random.Random) -> str:
    """A faculty, department or institute of a university: 管理学院, 机械系."""
    return draw.choice(words("faculties"))


def school(draw: random.Random, brands: Brands = None) -> str:
    """A school below university."""
    tail = listed(
        "第一中学 第二中学 第三中学 中学 高中 职业中学 技工学校 财贸学校 卫生学校 小学 师范学校 实验小学 财经学校"
    )
    place = town(draw) + draw.choice(("", "", "市", "县"))
    return place + draw.choice(tail)


def hospital(draw: random.Random) -> str:
    """A hospital or clinic."""
    place = draw.choice((town(draw), with_suffix(draw, town(draw)), town(draw), region(draw), province(draw)))
    tail = (
        *listed(
            "人民医院 第一人民医院 第二人民医院 第三人民医院 中心医院 中医院 妇幼保健院 儿童医院 肿瘤医院 医院 "
            "口腔医院"
        ),
        *listed("中医药研究院 疾病预防控制中心 眼科医院 胸科医院 职工医院 卫生院 协和医院 总医院"),
    )
    chance = draw.random()
    if chance < 0.2:
        return draw.choice(words("universities")) + draw.choice(
            ("附属医院", "附属第一医院", "附属第二医院", "医学院附属医院", "第三附属医院")
        )
    if chance < 0.25:
        return f"解放军第{draw.randint(10, 480)}医院"
    return place + draw.choice(tail)


def institute(draw: random.Random, brands: Brands = None) -> str:
    """A research or design institute."""
    chance = draw.random()
    field = draw.choice(INDUSTRIES)
    if chance < 0.12:
        return (
            draw.choice(("中国科学院", "中科院", "中国社会科学院"))
            + draw.choice((town(draw), "", region(draw)))
            + field
            + "研究所"
        )
    if chance < 0.2:
        ministry = draw.choice(words("ministries"))
        number = draw.choice(listed("一 二 三 四 五 六 七 八 九 十 十一 十二 十三 十五"))
        return f"{ministry}第{number}{draw.choice(listed('研究所 设计院 研究院 设计研究院'))}"
    lead = draw.choice(
        (region(draw), province(draw), town(draw), town(draw) + "市", "中国", "北京", "机械部", "国家")
    )
    tail = listed(
        "研究所 研究院 研究设计院 设计院 设计研究院 科学研究院 工程技术研究中心 工程研究中心 重点实验室 "
        "研究中心 勘察设计院"
    )
    return lead + field + draw.choice(tail)


def agency(draw: random.Random) -> str:
    """A public body: ministry, bureau, committee, government, court."""
    chance = draw.random()
    if chance < 0.25:
        return draw.choice(words("ministries"))
    bureau = draw.choice(words("bureaus"))
    own = town(draw)
    if bureau.endswith("厅"):
        return (province if draw.random() < 0.7 else region)(draw) + bureau
    if bureau.startswith("市"):
        return (own if draw.random() < 0.8 else draw.choice((province(draw), own + "县", own + "区"))) + (
            bureau if draw.random() < 0.8 else bureau[1:]
        )
    if chance < 0.7:
        return with_suffix(draw, own, "市市县区") + bureau
    if chance < 0.85:
        return (province if draw.random() < 0.6 else region)(draw) + bureau
    if chance < 0.88:
        organ = listed("组织部 宣传部 统战部 党校 办公厅 政法委 老干部局 党校研究生部 企业工委 讲师团")
        return f"中共{draw.choice((province(draw) + '委', own + '市委', own + '县委'))}{draw.choice(organ)}"
    government = listed(
        "人民政府 政府 委 县委 县政府 镇政府 乡政府 区政府 区委 市政府 地委 行署 镇人民政府 街道办事处"
    )
    return own + draw.choice(government)


def association(draw: random.Random, brands: Brands = None) -> str:
    """A society, chamber, exchange, committee of experts or fund."""
    field = draw.choice(INDUSTRIES)
    lead = draw.choice(
        ("中国", "中国", "全国", region(draw), province(draw), town(draw), town(draw) + "市", "国际", "亚洲")
    )
    tail = (
        *listed(
            "协会 协会 行业协会 工业协会 学会 商会 联合会 研究会 促进会 标准化技术委员会 协会专业委员会 工程学会 "
            "联盟"
        ),
        *listed("专家委员会 产业技术创新战略联盟 基金会 同业公会 企业家协会 管理协会"),
    )
    chance = draw.random()
    if chance < 0.2:
        return lead.replace("国际", "中国").replace("亚洲", "中国") + draw.choice(words("societies"))
    if chance < 0.26:
        return draw.choice(
            listed(
                "上海证券交易所 深圳证券交易所 香港联合交易所 上海期货交易所 全国股转公司 香港证监会 上交所 深交所"
            )
        )
    return lead + field + draw.choice(tail)


def military_unit(draw: random.Random, brands: Brands = None) -> str:
    """A unit of the forces."""
    number = "".join(draw.choice("0123456789") for _ in range(5))
    return draw.choice(
        (
            *(
                f"{number}部队",
                f"中国人民解放军{number}部队",
                "中国人民解放军",
                "解放军",
                f"{draw.choice(listed('沈阳 北京 济南 南京 广州 成都 兰州'))}军区",
            ),
            *(
                f"陆军第{draw.randint(1, 80)}集团军",
                f"空军第{draw.randint(1, 40)}师",
                "武警" + region(draw) + "总队",
                "海军" + town(draw) + "基地",
            ),
            *(
                f"总后勤部{draw.choice('一二三四五六七八九')}厂",
                "铁道兵",
                "基建工程兵",
                f"{town(draw)}军分区",
                f"{town(draw)}市人民武装部",
            ),
        )
    )


def media(draw: random.Random, brands: Brands = None) -> str:
    """Newspapers, broadcasters, publishers, journals."""
    chance = draw.random()
    if chance < 0.35:
        field = draw.choice(words("journals"))
        return f"《{field}》" + draw.choice(("", "", "杂志社", "编辑部", "编委会"))
    lead = draw.choice((town(draw), region(draw), "中国", "人民", "中央"))
    tail = listed("日报社 晚报 日报 电视台 人民广播电台 广播电视台 出版社 时报社 商报 大学出版社 经济报社 证券报")
    return lead + draw.choice(tail)


def county(draw: random.Random, brands: Brands = None) -> str:
    """A city, county or province by its name alone, where somebody governs."""
    chance = draw.random()
    if chance < 0.1:
        return province(draw)
    own = with_suffix(draw, town(draw), "市县县区")
    return province(draw) + own if chance < 0.4 else own


def village(draw: random.Random, brands: Brands = None) -> str:
    """A township, village, commune or street."""
    name = any_character(draw) + draw.choice("家山河溪桥塘庄桥湾店岭泉坪口台洼堡屯")
    place = draw.choice(("", town(draw), town(draw) + "县", town(draw) + "市"))
    return place + name + draw.choice(listed("村 镇 乡 公社 街道 社区 大队 居委会 村委会 农场 林场"))
