"""Persons and where they come from: names, countries, ethnic groups, places."""

from __future__ import annotations

import random

from .wordlists import Weighted, any_character, by_rank, listed, words

SURNAMES = by_rank(words("surnames"), flat=12)
GIVEN = by_rank(words("given"), flat=120)
TOWNS = tuple(tuple(entry.split("/")) for entry in words("towns"))
REGIONS = words("regions")
PLACES = frozenset((*REGIONS, *(name for _, name in TOWNS)))
ETHNIC_GROUPS = words("ethnic_groups")
COUNTRIES = by_rank(words("countries"), flat=3)

SYLLABLES = listed(
    "阿 艾 安 奥 巴 班 贝 本 比 彼 宾 波 伯 布 查 达 丹 德 狄 迪 蒂 顿 多 厄 恩 尔 凡 菲 费 弗 福 盖 戈 "
    "格 古 哈 海 汉 赫 亨 霍 基 吉 加 杰 卡 凯 坎 康 考 科 克 肯 库 拉 莱 兰 劳 雷 里 利 林 鲁 路 伦 罗 "
    "洛 马 麦 曼 梅 米 莫 穆 纳 内 尼 努 诺 帕 佩 皮 珀 普 奇 乔 切 琼 瑞 萨 塞 森 沙 圣 史 斯 苏 索 塔 "
    "泰 特 托 瓦 威 韦 维 沃 乌 西 希 谢 休 雅 亚 伊 易 尤 约 赞 詹 珍 朱 佐"
)
UYGHUR = listed(
    "阿不都 买买提 艾山 吐尔逊 阿依 古丽 努尔 热合曼 克里木 木拉提 艾合买提 玉素甫 司马义 依明 牙生 "
    "卡德尔 艾力 帕提 古丽娜尔 吾买尔 肉孜 阿迪力 库尔班 塔依尔 热依汗 哈力克 居来提 迪丽 努尔曼 阿布都热 "
    "西力甫 沙塔尔 巴哈尔 叶尔肯 赛力克 别克 哈孜 巴合提"
)
TIBETAN = listed(
    "扎西 次仁 达瓦 顿珠 多吉 格桑 旺堆 尼玛 拉姆 卓玛 平措 旦增 索朗 罗布 仁青 边巴 洛桑 央金 贡布 才旦 "
    "普布 强巴 嘉措 德吉 晋美"
)
MONGOLIAN = listed(
    "巴特尔 乌兰 其其格 图雅 布和 宝音 格日勒 巴雅尔 那仁 朝鲁 苏和 孟和 哈斯 额尔敦 斯琴 高娃 白音 "
    "阿拉坦 呼和 毕力格 达来 牧仁 特木尔 乌日娜 萨仁 通拉嘎 满都拉 敖其尔 胡日查"
)
FIRST_LATIN = listed(
    "James John Robert Michael William David Richard Thomas Charles Daniel Peter Paul Mark George Kenneth "
    "Steven Edward Brian Kevin Jason Eric Stephen Andrew Frank Raymond Patrick Jack Dennis Henry Simon "
    "Alan Albert Philip Martin Mary Linda Susan Helen Karen Nancy Lisa Anna Grace Alice Jean Julia "
    "Catherine Hans Klaus Pierre Marco Luigi Sven Lars Ivan Kenji Hiroshi Wei Li Xiaoming Hong Jun Bing "
    "Ming Tony Vincent Wilson Benny Jeffrey Leo Roger Victor Winston"
)
LAST_LATIN = listed(
    "Smith Johnson Williams Brown Jones Miller Davis Wilson Anderson Taylor Thomas Moore Jackson Martin "
    "Lee Thompson White Harris Clark Lewis Robinson Walker Young Allen King Wright Scott Hill Green Adams "
    "Nelson Baker Hall Campbell Mitchell Carter Roberts Müller Schmidt Schneider Fischer Weber Dubois "
    "Laurent Rossi Ferrari Petersen Hansen Tanaka Suzuki Yamamoto Kim Park Choi Chan Wong Cheung Leung "
    "Chow Lam Ng Tan Lim Goh Wang Zhang Liu Chen Huang Zhao Wu Xu Sun Hu Lin Cheng"
)


def person(draw: random.Random) -> str:
    """A person's name, as it stands in a text."""
    return _KINDS.pick(draw)(draw)


def chinese_name(draw: random.Random) -> str:
    """Surname and one or two given characters; one name in seven has a character that names seldom have."""
    surname = SURNAMES.pick(draw)
    size = 1 if draw.random() < 0.16 else 2
    given = "".join(_given_character(draw) for _ in range(size))
    return surname + (given[0] * 2 if size == 2 and draw.random() < 0.01 else given)


def _given_character(draw: random.Random) -> str:
    return GIVEN.pick(draw) if draw.random() < 0.92 else any_character(draw)


def _any_characters(draw: random.Random) -> str:
    """A name of arbitrary characters, so that a reader must copy it and cannot know it."""
    return "".join(any_character(draw) for _ in range(draw.choice((2, 3, 3, 3, 4))))


def _surname_and_any(draw: random.Random) -> str:
    return SURNAMES.pick(draw) + "".join(any_character(draw) for _ in range(draw.choice((1, 2, 2))))


def _double_surname(draw: random.Random) -> str:
    """A married name of Hong Kong or Taiwan, or of two parents."""
    return SURNAMES.pick(draw) + chinese_name(draw)


def _uyghur(draw: random.Random) -> str:
    return "·".join("".join(draw.sample(UYGHUR, draw.choice((1, 1, 2)))) for _ in range(2))


def _tibetan_or_mongolian(draw: random.Random) -> str:
    return "".join(draw.sample(TIBETAN if draw.random() < 0.5 else MONGOLIAN, draw.choice((1, 2, 2))))


def transliterated_name(draw: random.Random) -> str:
    """A foreign name in Chinese characters, with or without the dot."""
    parts = ["".join(draw.choice(SYLLABLES) for _ in range(draw.choice((2, 2, 3, 4)))) for _ in range(2)]
    chance = draw.random()
    return parts[0] if chance < 0.15 else ("·" if chance < 0.85 else "").join(parts)


def latin_name(draw: random.Random) -> str:
    """A name in Latin letters, written without spaces."""
    first, last = draw.choice(FIRST_LATIN), draw.choice(LAST_LATIN)
    chance = draw.random()
    if chance < 0.55:
        return first + last
    initial = draw.choice("ABCDEFGHJKLMPRSTW")
    if chance < 0.75:
        return f"{first}{initial}.{last}"
    return f"{last},{first}" if chance < 0.78 else f"{first}·{last}" if chance < 0.85 else (first + last).upper()


def country(draw: random.Random) -> str:
    """A foreign country's name."""
    return COUNTRIES.pick(draw)


def ethnic_group(draw: random.Random) -> str:
    """汉族 mostly, else one of the fifty-six."""
    return "汉族" if draw.random() < 0.7 else draw.choice(ETHNIC_GROUPS)


def region(draw: random.Random) -> str:
    """A province or its like, without its suffix."""
    return draw.choice(REGIONS)


def province(draw: random.Random) -> str:
    """A province or its like, with its suffix: 江苏省, 上海市, 西藏自治区."""
    name = draw.choice(REGIONS)
    return name + PROVINCIAL.get(name, "省")


def town(draw: random.Random) -> str:
    """A city or county, without its suffix."""
    return draw.choice(TOWNS)[1]


def with_suffix(draw: random.Random, name: str, suffixes: str = "市市县") -> str:
    """A town with 市 or 县, unless its name ends in such a word."""
    return name if name[-1] in "县旗州市区" or len(name) > 3 else name + draw.choice(suffixes)


PROVINCIAL = {"北京": "市", "天津": "市", "上海": "市", "重庆": "市", "内蒙古": "自治区", "西藏": "自治区"} | {
    "广西": "壮族自治区",
    "宁夏": "回族自治区",
    "新疆": "维吾尔自治区",
}


def place(draw: random.Random) -> str:
    """A person's origin, without 人: 江苏如皋, 河北省沧州市, 湖南."""
    province, own = draw.choice(TOWNS)
    chance = draw.random()
    if chance < 0.45:
        return province + own
    if chance < 0.55:
        return own
    if chance < 0.7:
        return draw.choice(REGIONS)
    full = province + PROVINCIAL.get(province, "省")
    if chance < 0.9:
        return full + with_suffix(draw, own)
    return with_suffix(draw, own) if chance < 0.97 else full


_KINDS = Weighted(
    (
        (78, chinese_name),
        (9, _any_characters),
        (6, _surname_and_any),
        (1, _double_surname),
        (1, _uyghur),
        (1, _tibetan_or_mongolian),
        (2.5, transliterated_name),
        (1.5, latin_name),
    )
)
