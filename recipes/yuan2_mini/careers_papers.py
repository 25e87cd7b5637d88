"""Papers that people fill in and write about themselves: forms, job portals, letters, self-descriptions."""

from __future__ import annotations

FIELDS = """
= f_name
姓名：{name} *6
姓　名：{name}
申请人：{name}
应聘者：{name}
联系人：{name}
中文名：{name}
= f_head
性别：{sex} *2
民族：{folk} *3
民族：[{ethnic_short}](RACE)
出生年月：{birthday} *2
年龄：{age}
籍贯：[{birthplace}](LOC) *3
籍贯：[{region}](LOC)
出生地：[{birthplace}](LOC)
祖籍：[{birthplace}](LOC)
[国籍：{country}](CONT)
[国籍：中国](CONT)
政治面貌：{party} *3
政治面貌：群众
婚姻状况：<已婚|未婚|已婚已育|离异>
身高：1{num}cm
户口所在地：{seat}
现居住地：{seat}
健康状况：良好
英文名：[{english_}](NAME)
曾用名：[{name_}](NAME)
笔名：[{penname}](NAME)
曾用名：无
爱好：<书法、羽毛球|摄影|钓鱼、下棋|无|跑步、看书>
= f_study
学历：[{level}](EDU) *4
最高学历：[{level}](EDU)
文化程度：[{level}](EDU)
学历：[{level}](EDU)（<全日制|在职|自考|函授>）
学位：[{degree_word}](EDU)
学位：[{discipline}](PRO)[{degree_word}](EDU)
专业：[{@major}](PRO) *3
所学专业：[{@major}](PRO)
专业：[{@major}专业](PRO)
毕业院校：{alma} *4
毕业学校：{alma}
毕业院校及专业：{alma}[{@major}](PRO)
学校：{alma}
毕业时间：{ym}
外语水平：<CET-4|CET-6|日语N2|一般>
学习经历：{span}{alma}[{@major}](PRO)
教育经历：{span}，{alma}，[{@major}](PRO)，[{higher}](EDU)
= f_work
工作单位：{org} *4
现任职务：{post} *2
现任职务：{job}
职务：{post} *3
职称：{rank} *3
职业：{post}
单位：{org}
部门：{section}
岗位：{post}
现单位及职务：{job}
原单位：{org}
应聘职位：{post} *3
求职意向：{post} *2
求职意向：{post}、{post}
求职意向：{post}/{post}
期望岗位：{post}
意向职位：{post}
期望薪资：{num}00元
期望月薪：面议
期望城市：{seat}、{seat}
到岗时间：<随时|一周内|一个月内|面谈>
工作年限：{years}
职业资格：{rank}
职业资格：{rank}、{rank}
特长：{@skill}
自我评价：{temper}，{@skill}
获奖情况：{@honour}
社会兼职：{membership}
工作经历：{span}{job}
工作经历：{span}在{org}任{post}
主要经历：{span}{org}{post}；{since}{org}{post}
工作内容：{@did}
离职原因：<个人发展|合同到期|家庭原因|公司搬迁>
证明人：{name_tag}（{post}）
推荐人：{name_tag}，{job}
汇报对象：{post}
语言：中文（母语）、英语（流利）
驾照：<C1|B2|无>
= name_tag
[{name_}](NAME)
= paper
{f_name}；{f_head*2-4；}；{f_study*1-2；}；{f_work*1-2；} *3
{f_name}；{f_head*2-4；}
{f_name}；{f_study*1-3；}；{f_work*1-3；} *2
{f_name}，{f_head*1-3，}，{f_study*1-2，}，{f_work*1-2，}。
{f_name}|{f_head*2-4|}|{f_study*1-2|}
{f_name}|{f_head*1-3|}|{f_work*1-3|}
{f_name} {f_head*1-3 } {f_study*1-3 }
{f_name}　{f_head*2-3　}　{f_work*1-2　}
{f_name}¶{f_head*2-4¶}¶{f_study*1-2¶}¶{f_work*1-2¶} *3
{f_name}¶{f_study*1-3¶}¶{f_work*1-3¶} *2
{f_head*2-5；} *2
{f_head*2-4¶}
{f_study*2-4；} *2
{f_study*2-3¶}¶{f_work*1-2¶}
{f_work*2-4；} *2
{f_work*2-4¶}
{f_work}。 *2
{f_study}，{f_study}。
{f_head}；{f_study}；{f_work}
【基本信息】{f_name}，{f_head*1-3，}；【教育】{f_study}；【工作】{f_work}
基本资料¶{f_name}¶{f_head*2-3¶}¶求职意向¶{post}¶工作经验¶{span}{job}
个人信息：{name}/{sex}/{age}/[{level}](EDU)/{seat}
{name}/{sex}/{birth}/[{birthplace}](LOC)/{folk}/[{level}](EDU)
{name}|{post}|{org}
{name}，{sex}，{age}，[{level}](EDU)，{years}工作经验，求职意向：{post}
{name} {sex} {folk} {birthday} [{birthplace}](LOC) [{level}](EDU) {rank}
{num}、{name}，{sex}，{folk}，{birthday}，[{birthplace}](LOC)，[{level}](EDU)，{job}
{span}|{org}|{post}¶{span}|{org}|{post}
{span}¶{org}¶{post}¶{@did}
公司名称：{org}¶职位：{post}¶时间：{span}¶工作描述：{@did}
{span}　{alma}　[{@major}](PRO)　[{higher}](EDU)
{org}　{post}　{span}
项目名称：{river}<大桥|改造|平台|小区>项目；担任角色：{post}；项目职责：{@did}
持证情况：{rank}（{yy}年）、{rank}（{yy}年）
家庭成员：父亲{name_tag}，{job}；母亲{name_tag}，{job}
父亲：{name_tag}，{org}{post}；母亲：{name_tag}，{post}
配偶：{name_tag}，{folk}，[{level}](EDU)，现在{org}工作
{post}@{org}，{@skill}
{post}@{org} | {edu} | {seat}
{org}·{post}·{name}
紧急联系人：{name_tag}（母子）
"""

FIRST_PERSON = """
= me
我叫{name} *3
本人{name} *2
本人姓名{name}
我是{name} *2
我是{job}{name} *2
本人
大家好，我叫{name}
您好，我是{name}
= me_clause
来自{seat}
今年{age}
{birth}出生于[{birthplace}](LOC)
老家在[{birthplace}](LOC)
[{origin}](LOC)
{folk}
{party}
{edu}
毕业于{alma}
{ym}毕业于{alma}{pro}
{y}大学毕业，学的是{pro}
目前就读于{alma}{pro}
现为{job}
现任{org}{post}
在{org}做{post}
在{org}当了{years}{post}
{y}起在{org}工作
曾在{org}担任{post}
做过{post}、{post}
做过{few}年{post}
从事{post}工作{years}
实习期间在{org}任{post}
大学期间担任{post}
{ym}入职{org}，从{post}做起
{y}因公司<改制|裁员|搬迁>离开{org}
{y}辞去{org}的工作，回乡做了{post}
下岗后应聘到{org}当{post}
退伍后分到{org}
{y}在{seat}开了一家小店
师从{named}老师
考取了{rank}资格
取得{rank}职称
被评为{rank}
已在{org}工作{years}
在校期间加入{joins}
= me_plain
{@skill}
{temper}
{@did}
{temper}，{@skill}
希望从事{post}工作
希望应聘{post}一职
应聘{post}
期望月薪{num}00元
可以随时到岗
能接受出差与加班
家里有两个孩子
想找一份离家近的工作
平时喜欢<爬山|看书|下棋|做饭|拍照>
不抽烟，不喝酒
= first
{me}，{me_clause*1-3}。 *4
{me}，{me_clause*1-3}，{me_plain}。 *4
{me}，{me_clause*2-4}。{me_plain}。
{me}，{me_plain}，{me_clause}。
{me}，{age}，{me_clause*1-3}。
我{work_me}。
我{work_me}，{did}。 *2
我{study_me}。
我{study_me}，{me_plain}。
本人{work_me}。 *2
本人{study_me}，{work}。 *2
本人{did}，{work}。
本人{me_clause*1-2}，{me_plain}。 *2
本人系{alma}{yy}届[{@major}](PRO)[<硕士研究生|本科|博士研究生|专科>](EDU)<毕业生|>，{party}，{me_plain}。
本人现为{org}{post}，{me_plain}。
我在{org}做{post}，{me_plain}。 *2
我做{post}{years}了，{me_plain}。
我的父亲{name}是{job}，我{me_clause}。
我爱人{name}在{org}做{post}，我{me_clause}。
{y}，我从{alma}毕业，到{org}当{post}。 *2
{y}我进了{org}，跟着{named}师傅学手艺，后来当了{post}。
{ym}，我离开{org}，加入{org}，担任{post}。
那年我{age}，在{org}当{post}，一干就是{years}。
{me_clause*2-3}。
{me_clause}，{me_plain}。
{me_plain}，{me_clause}。
自{y}参加工作以来，我先后在{org}、{org}任{post}。
大学毕业后我在{org}实习，岗位是{post}，后转为{post}。
入党申请人：{name}，{job}。
我志愿加入{joins}。
"""

LETTERS = """
= hello
尊敬的<领导|招聘负责人|HR|各位老师|评委>：您好！
尊敬的{lone_surname}<先生|女士>：您好！
{lone_surname}老师：您好！
尊敬的{org}领导：您好！
您好，
= letter
{hello}我是{alma}{yy}届毕业生{name}，所学专业为[{@major}](PRO)，现应聘贵公司{post}一职。
{hello}本人{name}，{me_clause*1-2}，希望能到[贵<校|院|公司|社|单位>](ORG)任{post}。
{hello}我从{app}上看到[贵公司](ORG)招聘{post}，{me_clause}，{me_plain}。
{hello}我叫{name}，{me_clause*1-2}，{me_plain}，愿加入[贵公司](ORG)担任{post}。
{hello}{me_clause*1-2}，特申请{post}岗位。
{hello}我毕业于{alma}{pro}，{me_plain}。
{hello}我想申请{alma}[{@major}](PRO)[<硕士|博士>](EDU)项目，希望跟随{named}老师学习。
我谨推荐我的学生{name}申请[贵校](ORG)[{@major}](PRO)[<硕士|博士>](EDU)项目，{ta}{me_plain_}。推荐人：{name_tag}，{alma}{post}。
本人谨推荐{name}同志担任{post}，{ta}{did}。
本人{name}，因个人原因申请辞去{org}{post}职务，望批准。
尊敬的领导：因家庭搬迁，我拟于{ym}辞去{post}一职。¶申请人：{name}
随信附上简历，盼复。此致敬礼！{name}
此致¶敬礼¶申请人：{name}
期待与您面谈。联系人：{name}，{post}。
感谢您阅读我的求职信，{me_plain}，{me_plain}。
应聘{post}，{me_clause*1-2}。
贵公司的{post}岗位与我的经历相符：{work+1-2；}。
申请转正：本人{ym}入职{org}，岗位为{post}，试用期内{@did}。
自荐人{name}，{folk}，[{origin}](LOC)，{alma}{pro}，{me_plain}。
证明：兹证明{name}（{sex}，身份证号略）为[我<单位|校|院|公司>](ORG){post}，{since}在职。
兹证明{name}系[我校](ORG)[{@major}专业](PRO)[本科](EDU)生，成绩优良。
介绍信：兹有我单位{name}、{name_tag}等两人前往{org}联系工作。
= app
招聘网
朋友圈
校园招聘会
报纸
= me_plain_
勤奋踏实，成绩优异
{@skill}
有独立研究的能力
"""

PLAIN = """
= plain
{@skill}。 *2
{temper}。
{@skill}；{temper}。 *2
{@did}。 *2
{@did}，{@did}。 *2
{@did}；{@honour}。
{temper}，{temper}。
{temper}，{@skill}，{@did}。 *2
自我评价：{temper}，{temper}。 *2
自我评价：{temper}；{@skill}。
个人特长：{@skill}，{temper}。
技能证书：{@skill}。
兴趣爱好：<游泳、围棋、看电影|书法和徒步|烘焙、瑜伽|无线电|养花、钓鱼|跑马拉松>。
平时喜欢<骑行|唱歌|养多肉|写毛笔字|打太极拳|逛旧书店>，{temper}。
期望月薪{num}00元，{temper}。
期望年薪{num}万，可协商，{few}周内到岗。
接受出差，接受加班，包吃住优先。
工作内容：{@did}；{@did}。
主要业绩：{@did}，{@honour}。
荣誉：{@honour}；{@honour}。
{@honour}，{@honour}。 *2
主要研究成果：{@did}，{@did}。
{ym}退休，退休后{@did}。
已婚，{age}，{temper}。
未婚，身体健康，可随时到岗。
职责：{@did}，{@skill}。
{y}{@honour}，{y}{@honour}。
著有{work_title}、{work_title}。
代表作品：{work_title}、{work_title}、{work_title}。
发表论文{many}余篇，其中核心期刊{few}篇。
因身体原因，现已离岗休养。
家住{seat}，有一子一女。
在{seat}生活多年，熟悉{seat}本地情况。
任期三年，自{ym}起计算。
以上人员任职试用期一年。
离职原因：<家庭搬迁|合同期满|照顾老人|想换个环境>。
联系电话见附件，工作日均可接听。
婚姻状况：已婚；身高：1{num}cm；{temper}。
本人承诺以上所填内容属实。
本人自愿服从组织分配，{temper}。
与本单位其他职工无亲属关系。
无违法犯罪记录，未受过任何处分。
与其他候选人不存在亲属关系，未受过行政处罚。
不存在不得任职的情形，符合岗位要求。
个人简历附后，证书原件备查。
{ym}至{end}年在家待业，{temper}。
{years}来，{@did}，{@honour}。
从业{years}，{@did}。 *2
先后到{town}、{town}、{town}等地采风。
曾赴{abroad}、{abroad}考察学习。
语言能力：普通话标准，英语<一般|流利|可阅读文献>。
{temper}；{temper}；{@skill}。
"""
