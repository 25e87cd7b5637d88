"""Clauses of a life: who somebody is, what was studied, where one has worked."""

from __future__ import annotations

WORKPLACES = """
= org
[{@org}](ORG)
= post
[{@title}](TITLE)
= rank
[{@rank}](TITLE)
= section
{@section}
= alma
[{@college}](ORG)
= founded
[{where}{mark}<食品|贸易|工艺品|家政|农业|教育|文化传播|设备|装饰><有限公司|厂|商行|工作室|中心|店>](ORG) *3
[{mark}<科技|文化|餐饮|智能|生物|设计|教育|传媒>](ORG) *2
[{lexicon_company}](ORG)
= posts
{post} *5
{post+2-2、} *2
{post+2-2兼} *2
{post+3-3、}
{post+2-2及}
{post+2-2和}
{post+2-2/}
{post}（{remark}）
= remark
主持工作
正处级
副科级
兼
试用期一年
挂职
返聘
不脱产
代理
享受正科级待遇
= org_and
{org} *14
{org}（原[{@org}](ORG)）
{org}（现[{@org}](ORG)）
{org}（前身为[{@org}](ORG)）
{org}（以下简称[{mark}](ORG)）
{org}（简称“[{mark}](ORG)”）
{org}（现更名为[{@org}](ORG)）
= job
{org}{post} *8
{org_and}{posts} *4
{org}的{post}
= jobs
{job}
{job}、{job}
{job}，{job}
{job}及{job}
{org}、{org}{post}
{org}、{org}和{org}{post}
{org}{post}、{org}{post}、{org}{post}
= path
{org}{post+3-3、}，{org}{post+2-2、}
{org}{post+2-2、}，{org}{posts}
{job}、{job}、{job}
{org}{post+2-4、}
{org}{post+4-6、}
{job}，{org}{post+2-3、}
{org}{post}、{post}，{org}{post}、{post}，{org}{post}
"""

IDENTITY = """
= id_birth
{birth}<生|出生> *4
{birth}<生|出生>于[{birthplace}](LOC)
现年{age}
{age}
时年{age}
= id_origin
[{origin}](LOC) *4
籍贯[{birthplace}](LOC)
籍贯：[{birthplace}](LOC)
祖籍[{birthplace}](LOC)
<生于|出生于|出生在|出生地>[{birthplace}](LOC)
原籍[{birthplace}](LOC)
[中国<香港|台湾|澳门>](LOC)
[中国香港](LOC)永久性居民
= id_party
{party} *5
{ym}加入{joins} *2
{ym}入党
无党派
= id_edu
{edu} *6
具有{edu}
拥有{edu}
持有{edu}
{edu}<毕业|在读>
{pro}毕业
获{edu}
= id_rank
{rank} *5
{rank}、{rank} *2
{rank}职称
具有{rank}资格
{rank}、{post}
<国家|>{rank}
= id_nation
{nation} *3
{nation}，{residence}
= id_other
{ym}参加工作
{ym}入伍
曾用名[{name_}](NAME)
原名[{name_}](NAME)
英文名[{english_}](NAME)
{membership}
{job} *2
{post}
= id_clause
{id_birth}
{id_origin}
{folk}
{id_party}
{id_edu}
{id_rank}
{id_nation}
{id_other}
= id_row
{sex}，{birth}<生|出生><，{folk}|><，[{origin}](LOC)|><，{party}|><，{edu}|><，{rank}|> *4
{sex}<，{folk}|>，{birth}<生|出生><，{edu}|><，{rank}|>
{nation}<，{residence}|>，{sex}，{birth}<生|出生><，{edu}|><，{rank}|>
{sex}，{folk}，[{origin}](LOC)<，{birth}生|><，{ym}参加工作|><，{party}|><，{edu}|>
{birth}<生|出生>，{edu}<，{rank}|>
{folk}，[{origin}](LOC)<，{party}|>
{edu}<，{rank}|><，{party}|>
{age}<，{folk}|><，{edu}|>
[{origin}](LOC)<，{edu}|><，{rank}|>
{sex}<，{folk}|><，{nation}|>，{edu}
"""

STUDIES = """
= study_v
毕业于{alma} *2
毕业于{alma}{pro} *2
毕业于{alma}{pro}，{edu_high}
毕业于{alma}，获{edu_high}
先后就读于{alma}、{alma}
先后毕业于{alma}和{alma}，<取得|获>{edu_high}、{edu_high}
在{alma}获得{edu_high}
在{alma}攻读{edu_high}
获{alma}[{discipline}](PRO)[{degree_word}](EDU) *2
获得{alma}{edu_high}和{alma}{edu_high}
早年求学于{alma}
早年就读{alma}，后转入{alma}
肄业于{alma}
持有{alma}[{@major}](PRO)[{degree_word}](EDU)
取得{alma}颁发的{edu_high}
[本科](EDU)就读于{alma}，后在{alma}取得{edu_high}
师从{named}，获{alma}{edu_high}
师从{named}、{named}，研习[{@major}](PRO)
主修[{@major}](PRO)，辅修[{@major}](PRO)
毕业于[{low_school}](ORG) *2
毕业于[{low_school}](ORG)，[{lower}](EDU)
= study_t
{span}在[{low_school}](ORG)<学习|读书>
{y}从[{low_school}](ORG){pro}毕业
{y}考入[{low_school}](ORG)
{ym}毕业于{alma} *2
{ym}毕业于{alma}{pro} *2
{ym}毕业于{alma}{pro}，获{edu_high}
{y}考入{alma}{pro}
{y}考入{alma}，攻读[{@major}](PRO)
{y}考取{alma}[{@major}](PRO)[<硕士|博士>研究生](EDU)
{y}自{alma}毕业后<分配到|进入|来到>{org}<工作|>
{y}从{alma}{pro}毕业
{ym}由{alma}保送至{alma}
{ym}入{alma}学习
{ym}至今在{alma}攻读{edu_high}
{span}就读于{alma}{pro}
{span}在{alma}学习
{span}在{alma}{pro}学习，{edu_high}
{span}于{alma}读书，获{edu_high}
{span}，{alma}，[{@major}](PRO)，[{higher}](EDU)
{y}赴{abroad}留学，获{alma}{edu_high}
{y}赴{alma}<做|作>[<访问学者|博士后>](TITLE)
{span}赴{alma}进修
{span}在{alma}从事博士后研究
{ym}取得{alma}{edu_high}
{y}获{alma}{edu_high}，{y}获{alma}{edu_high}
= study_n
[{low_school}](ORG)[{lower}](EDU)
[{low_school}](ORG)毕业
{alma}{edu_high} *2
{alma}{edu_high}<毕业|在读>
{alma}{pro}{edu_high}
{alma}{pro}毕业
{alma}毕业 *2
{alma}{edu_high}，{alma}{edu_high}
= studied
{study_v} *3
{study_t} *3
{study_n} *2
= study_me
{study_v}
{study_t}
"""

WORK = """
= work_v
现任{job} *3
现为{job} *3
现系{job}
现任{jobs}
现任{org_and}{posts}
现就职于{org}
现供职于{org}{section}
现在{org}<工作|任教|供职|任职>
目前担任{org}{posts}
历任{path} *3
历任{post+2-5、} *2
先后任{path}
先后担任{org}{post}、{post}
先后在{org}、{org}<工作|任职|供职>
先后供职于{org}、{org}<和|及>{org}
先后于{org}任{post}、{org}任{post}
曾任{jobs} *3
曾任{org}{post}，现任{org}{post} *2
曾任{org}{post}，后到{org}任{post}
曾在{org}担任{post}
曾在{org}{section}工作
曾供职于{org}、{org}
曾于{org}从事{section}工作，任{post}
曾被借调至{org}
曾受聘为{jobs}
从{post}做到{post}
从{post}干起，一步步做到{post}
从{org}{post}到{org}{post}，{@did}
由{org}{post}成长为{post}
由{post}升任{post}
在{org}从{post}干起，{y}升任{post}
在{org}工作{years}
在{org}工作{years}，历任{post+2-3、}
在{org}担任{post}期间，{@did} *2
在{org}任{post}，同时兼任{org}{post}
长期在{org}从事{section}工作
长期担任{job}
一直在{org}任{post}
负责{org}{section}工作
分管{section}，{@did}
主持{org}工作
执教于{org}
师承{named}，后入{org}
牵头成立{founded}，任{post}
创办{founded}，任{posts}
是{org}的{post}
作为{post}，{@did} *2
以{post}身份参与{org}的筹建
受{org}委派，出任{org}{post}
受聘为{jobs}
兼任{membership} *2
兼任{membership}、{membership}
兼任{jobs}
兼{membership}
并任{membership}
同时担任{membership}
系{membership}
另任{membership}
并受聘担任{org}、{org}{post}
当选为{membership}
= work_t
{span}在{org}工作 *2
{span}任{job} *3
{span}，任{job}
{span}在{org}任{posts} *2
{span}在{org}担任{posts}
{span}就职于{org}，任{post}
{span}供职于{org}，历任{post+2-3、}
{span}为{job}
{span}{job} *2
{span}历任{path}
{span}，历任{org}{post+2-3、}
{span}，先后在{org}、{org}担任{post}
{span}先后任{org}{post}、{org}{post}
{span}在{org}{section}任{post}
{span}，{org}，{post}
{span}{org}{post}（其间：{span}借调{org}）
{span}{org}{post}（其间：{span}在{alma}{pro}学习）
{since}任{job} *2
{since}，{job}
{since}，任{org}{posts}
{since}在{org}{section}工作
{since}担任{org}、{org}{post}
{ym}进入{org} *2
{ym}进入{org}，任{post}
{ym}入职{org}，任{post}
{ym}加入{org}，历任{post+2-3、}
{ym}加盟{org}，担任{post}
{ym}调入{org}，任{post}
{ym}调任{job}
{ym}调到{org}当{post}
{ym}被派往{org}任{post}
{ym}被选派到{org}挂职，任{post}
{ym}分配至{org}{section}，任{post}
{ym}应聘到{org}，做{post}
{ym}起任{job} *2
{ym}起历任{path}
{y}起担任{job}
{y}起师从{named}
{y}创办{founded} *2
{y}创办{founded}，任{posts}
{y}与{named}、{named}共同创办{founded}
{y}参与创立{founded}，出任{post}
{y}将{founded}更名为{founded}
{ym}转业到{org}，任{post}
{ym}退伍后到{org}当{post}
{ym}受聘为{job}
{ym}当选{membership}
{ym}当选为{job}
{ym}晋升{rank}
{ym}晋升为{rank}
{y}取得{rank}资格
{y}取得{rank}证书
{y}考取{rank}
{ym}被聘为{rank}
{ym}获授{rank}
{ym}由{org}调往{org}
{ym}退休 *2
{ym}从{org}退休
{y}离开{org}，转任{org}{post}
{y}辞去{post}职务
{ym}辞去{org}{post}职务，转任{job}
{ym}升任{post}
{ym}接替{named}任{post}
{ym}任{post}，{ym}任{post}
{ym}，{ta}出任{job}
同年任{post}
次年调任{org}{post}
= work_n
{org}{posts} *3
{org:w}<前|>{post}，现任{org:w}{post}
{job}，{job}
{org}[<创始人|创办人|发起人>](TITLE)之一
社会兼职：{membership}，{membership}
现职：{job}
前任{org}{post}
= work
{work_v} *4
{work_t} *5
{work_n}
= work_me
{work_v}
{work_t}
= did
{@did} *4
{@skill}
{@honour}
{@did}，{@honour}
{temper}
发表论文{many}篇
现居{seat}
著有{work_title}
"""
