"""What others write about people: notices, news, obituaries, citations, introductions, lists of several people."""

from __future__ import annotations

NOTICES = """
= ruling
经研究决定
经{date_body}研究决定
根据工作需要
经{org}党委研究决定
经{org}研究
经民主推荐、组织考察
经公示无异议
= date_body
党组会议
校务会
院务会议
理事会
村民代表大会
= notice
{ruling}，任命{name}为{job}。 *3
{ruling}，任命{name}同志为{job}；免去{name_tag}同志{post}职务。 *3
{ruling}，聘任{name}同志为{org}{posts}，聘期三年。 *2
{ruling}：{name}任{job}，免去其{org}{post}职务。 *2
{ruling}，免去{name}的{job}职务。
{name}同志任{org:1}{post}，免去其{org}{post}职务。 *2
免去{name}同志{org}{post}职务，另有任用。
免去{name}、{name_tag}的{org}{post}职务。
任命{name}为{job}（试用期一年）。
{org}关于{name}等同志任免职的通知：{name_tag}任{post}。
{org}决定：{name}任{post}，{name_tag}任{post}，{name_}不再担任该职。
{org}任命{name}为{post}，任命{name_tag}为{post}。 *2
同意{name}辞去{post}职务。
接受{name}辞去{job}职务的请求。
决定接受{name}因工作变动提出的辞去{org}{post}职务的请求。
公示：{name}，{sex}，{birth}生，{folk}，[{origin}](LOC)，{edu}，{party}，现任{job}，拟任{job}。 *2
{name}，{sex}，{birth}生，现任{job}，拟任{org}{post}（试用期一年）。 *2
拟聘用人员：{name}，{sex}，{edu}，{alma}，报考岗位：{post}。
拟录用{name}、{name_tag}、{name_tag2}为{org}{post}。
考察对象：{name}，{org}{post}。
当选{org}{post}的有：{name}、{name_tag}。
{org}选举{name}为{post}，{name_tag}、{name_tag2}为{post}。 *2
{yy}年度职称评审通过人员：{name}，{org}，{rank}。
授予{name}、{name_tag}{rank}<职称|任职资格>。
晋升{name}为{rank}。
聘请{name}为{membership_}。
特聘{named}先生为{org}{post}。
兹委派{name}前往{org}任{post}。
{name}原任{org}{post}，现调{org}，职务另行通知。
撤销{name}{org}{post}职务。
{name}不再担任{org}{post}。 *2
自{ym}起，{name}任{org}{post}，{name_tag}不再担任该职。
调令：{name}，{org}{post}，调任{org}{post}。
= name_tag2
[{name_}](NAME)
= membership_
{membership}
"""

NEWS = """
= news
{ym}，{job}{name}{event}。 *3
{job}{name}{event}。 *4
{job}{name}告诉记者，{ta}{did}。 *2
{name}是{job}，{did}。 *3
今年{age}的{name}是{job}。 *2
今年{age}的{job}{name}，{did}。 *2
{age}的{name}在{org}当{post}，{did}。
在{org}，人们提起{post}{name}，都竖起大拇指。
{name}出生在[{birthplace}](LOC)，{y}到{org}当{post}。 *2
{y}，{name}从{alma}毕业，回到家乡当了{post}。 *2
{name}，{folk}，{job}，{event}。 *2
{name:1}是[{place}人](LOC)，{y}进入{org}，{surname:1}师傅{did}。
{name:1}的徒弟{name_tag}如今也是{post}。
“{temper_said}”{job}{name}说。 *2
{post}{name}说，{ta}{did}。
记者从{org}获悉，{name}{event}。
{org}{post}{name}、{post}{name_tag}{event}。 *2
{org}{post}{name}会见{org}{post}{name_tag}一行。
{name}接替{name_tag}出任{org}{post}。 *2
{org}{post}{name}日前离任，由{name_tag}接任。
{name}与{name_tag}同为{org}{post}。
{name}与妻子{name_tag}都是{job}。
{name}、{name_tag}夫妇{y}创办{founded}。 *2
{name}和{name_tag}是{alma}的同学，{y}一起创办了{founded}。
{founded}[创始人](TITLE){name}{event}。
{org}（以下简称“[{mark}](ORG)”）{post}{name}{event}。
{name}离开{org}，加盟{org}。
{name}由{org}转会至{org}。
据{org}{post}{name}介绍，{did}。
{name}的身份是{job}，同时也是{membership}。
{edu}{name}放弃{seat}的高薪，回到{hamlet}当{post}。
来自{org}的{name}{event}。 *2
来自{abroad}的{post}[{translated}](NAME){event}。
{foreign}的[{translated}](NAME)现为{job}。
{name}早年在{org}做{post}，{y}改行当了{post}。
{name}的父亲{name_tag}曾是{job}。
{org}的{name}，{years}如一日，{did}。
{org}{section}的{name}{event}。
演出由{name}<指挥|导演|主演>，{name_tag}<担任|任>{post}。
[裁判长](TITLE)由{name}担任，{org}{name_tag}夺得冠军。
= temper_said
我只是做了分内的事。
把手艺传下去，我就安心了。
干一行爱一行。
最难的时候也没想过放弃。
孩子们叫我一声老师，值了。
= event
获评“全国先进工作者”
当选{membership}
受聘为{membership}
{@honour}
出席开幕式并讲话
为新生作了题为{work_title}的讲座
在{seat}举办讲座
因病请假
到{org}调研
夺得金奖
被授予“劳动模范”称号
赴{abroad}访问
接受了采访
退休
晋升{rank}
{@did}
捐款{num}万元
"""

MEMORIES = """
= obituary
{name:1}同志因病医治无效，于{end}年{month}在{seat}逝世，享年{agedead}岁。{name:1}，{id_clause*1-2}，{work}。 *2
{job}{name}同志于{end}年{month}逝世，享年{agedead}岁。 *3
我国著名{renown}{name}先生在{seat}病逝，享年{agedead}岁。
{name}（{born}—{end}），{id_clause*1-2}，{work}。 *4
{name}（{born}-{end}），[{origin}](LOC)，{job}。 *2
{name}，{born}年生，{end}年卒，[{origin}](LOC)，{work}。 *2
{name}生前系{job}。 *2
{name}生前曾任{org}{posts}。
{rank}、{job}{name}，因病于{seat}去世。
讣告：{org}原{post}{name}同志逝世，享年{agedead}岁。
{name:1}先生千古。{surname:1}先生{work_me}。
{name:1}同志的一生：{ym}入伍，历任{org}{post}、{post}，离休前任{job}。
{name}烈士，[{origin}](LOC)，{ym}加入{joins}，牺牲时任{org}{post}。 *2
追思会由{org}{post}{name}主持，{name_tag}致悼词。
= renown
[画家](TITLE)
[作家](TITLE)
[翻译家](TITLE)
[作曲家](TITLE)
[桥梁专家](TITLE)
[历史学家](TITLE)
[农学家](TITLE)
[植物学家](TITLE)
= month
{few}月
{few}月{few}日
= citation
授予{name}同志“优秀{honoured}”称号。
{name}，{job}。{did}，被评为年度人物。 *2
获奖人：{name}，{sex}，{folk}，{job}。主要事迹：{did}。 *2
颁奖词：{name}，你{said}。
{yy}年度“最美{honoured}”：{name}（{org}）。 *2
{job}{name}：{temper}，{did}。 *2
推荐单位：{org}；推荐人选：{name}；职务：{post}。
先进事迹：{name}同志自{y}任{org}{post}以来，{did}。 *2
入选理由：{did}。候选人：{name}，{job}。
特等奖获得者{name}，{rank}，{job}。
{name}荣获“{honoured}标兵”称号，现为{org}{post}。
表彰{name}、{name_tag}、{name_tag2}等同志。
= said
守着一盏灯，走了一辈子路
把青春留在了大山深处
{years}如一日，不改初心
= honoured
教师
护士
工匠
志愿者
劳动者
司机
医生
党务工作者
村官
退役军人
= speaker_intro
主讲人：{name}，{job}。 *3
主讲人：{name}，{edu}，{rank}，{job}，{did}。 *2
嘉宾：{name}，{org}{posts}。 *2
今天我们请到了{org}{post}{name}{hon}。 *2
有请{job}{name}{hon}致辞。 *2
讲座主持：{name}，{post}；主讲：{name_tag}，{org}{post}。
主讲嘉宾{name:1}，{work}。{surname:1}老师{did}。
报告人：{name}；单位：{org}；职称：{rank}；题目：{work_title}。 *2
作者简介：{name}（{born}—），{sex}，[{origin}](LOC)，{job}，研究方向：{study}。 *3
作者简介：{name}，{sex}，{edu}，{rank}，{job}。 *2
［作者］{name}，{alma}[{@major}](PRO)[<硕士研究生|博士研究生|硕士|博士>](EDU)。
译者简介：{name}，{work}，译有{work_title}。
专家介绍：{name}，{rank}，{did}。 *2
出诊专家：{name}，{rank}，{@skill}。
导师介绍：{name}，{rank}、{rank}，{alma}{edu}，{@did}。 *2
评委：{name}，{membership}。
新同事{name}，{edu}，原任职于{org}，今起担任{post}。 *2
欢迎{name}{hon}加入，{ta}此前是{job}。 *2
主播{name}，{job}。
指导教师：{name}（{org}）。
"""

LISTS = """
= name_l
[{name_}](NAME)
= p_role
{name_l}（{post}）
= p_role2
{name_l}任{post}
= p_org
{org}{name_l}
= p_org_post
{org}{post}{name_l}
= p_post
{post}{name_l}
= p_field
{post}：{name_l}
= p_full
{name_l}，{org}{post}
= p_brief
{name_l}，{sex}，{edu}，{rank}
= p_folk
{name_l}（{folk}）
= p_team
{name_l}（{org}）
= p_origin
{name_l}，[{origin}](LOC)
= list_head
<成员|主创人员|团队成员|课题组成员|专家组名单|教练组|演职人员|编委会|值班人员|理事会成员|出席人员|到会人员|参会嘉宾|获奖名单|评委>
= list
{list_head}：{p_role+2-5、}。 *3
{list_head}：{name_l+3-8、}。 *2
{list_head}：{p_field+2-5，}。 *2
{list_head}：{p_field+2-4；} *2
{list_head}¶{p_field+2-5¶}
{list_head}：{p_org+2-5、}。
{list_head}：{p_full+2-4；}。 *2
{list_head}：{p_brief+2-3；}。
{list_head}：{p_team+2-5、}。 *2
{org}{list_head}：{p_post+2-4、}。 *2
{p_field+2-4　}
{p_field+2-5；}。 *2
{p_full+2-3；}。
出席会议的有{p_org_post+2-4、}。 *3
参加座谈的有{p_org_post+2-3、}等。 *2
{p_org_post+2-3、}出席仪式。
{org}{p_post+2-4、}参加了会议。 *2
会议由{post}{name}主持，{name_l+1-4、}发言。 *2
列席：{name_l+1-4、}（{org}）。
请假：{name_l+1-3、}。
{org}共有{post}{few}名，分别为{name_l+2-5、}。 *2
本届{post}：{name_l+2-4、}。
董事会成员：{name_l}（[董事长](TITLE)）、{name_l}（[副董事长](TITLE)）、{p_role+1-3、}。 *2
[理事长](TITLE){name}，[副理事长](TITLE){name_l+1-3、}，[秘书长](TITLE){name_tag}。 *2
[组长](TITLE)：{name}；[副组长](TITLE)：{name_l+1-3、}；成员：{name_l+2-5、}。 *2
[导演](TITLE){name}，[编剧](TITLE){name_tag}，主演{name_l+2-4、}。
[主编](TITLE)：{name}　[副主编](TITLE)：{name_l+1-3、}
{p_folk+2-4、}当选[{town}市人大代表](TITLE)。
{p_origin+2-4；}。
{name_l+2-4、}均为{job}。 *2
{name_l+2-4、}现任{org}{post}。
{p_role2+2-4，}。 *2
{org}由{p_role2+2-3，}。
一等奖：{p_team+1-3、}；二等奖：{p_team+1-3、}。
指导：{name}；执笔：{name_l+1-3、}。
{name_l}、{name_l}分别任{org}{post}、{post}。 *2
{name_l}与{name_l}、{name_l}同在{org}工作。
甲方代表：{name}（{org}{post}）；乙方代表：{name_l}（{org}{post}）。
首发名单：{name_l+4-7、}；[主教练](TITLE)：{name}。
师父：{name}；徒弟：{name_l+1-3、}。
"""

CARDS = """
= card
{name}¶{org}¶{post} *2
{org}¶{name}　{post}¶电话：{phone} *2
{name}　{post}¶{org}{section}¶手机：{phone}
{post}　{name}¶{org}
{name} | {org}{post}
{name}，{org}{post}，联系电话{phone}。 *2
联系人：{name}（{post}），电话：{phone} *2
{org}联系人：{name}，{phone}
文/{name_l}　图/{name_l}
（{org}[记者](TITLE){name_l}、{name_l}）
（作者系{job}） *2
（作者：{name}，单位：{org}）
（{name_l}系{job}，{name_l}系{org}{post}）
[责任编辑](TITLE)：{name_l}　[校对](TITLE)：{name_l}
[责任编辑](TITLE)：{name_l}；[美术编辑](TITLE)：{name_l}
[通讯员](TITLE){name_l}、{name_l}
图为{job}{name}在{seat}。 *2
图为{org}{post}{name}正在工作。
左起：{name_l+3-5、}。
{name}，{yy}级[{@major}专业](PRO)校友，现任{job}。 *2
校友风采：{name}，{yy}届，{pro}，现为{job}。
{num}号{name}，身高1.{num}米，{@did}。
{name}（{num}号），{@did}，{ym}加盟{org}。
周一上午：{name_l}（{rank}）；周三下午：{name_l}（{rank}）。 *2
值班：{name_l+1-3、}；带班领导：{name_l}（{post}）。
户主：{name}，{folk}，[{level}](EDU)，{post}。
{name}，{folk}，{hamlet}村民，{@did}。 *2
老人名叫{name}，今年{age}，[{origin}](LOC)，当过{post}。 *2
{name_l}与{name_l}系夫妻，{name_l}任{org}{post}。
{name_l}之子{name_l}现任{org}{post}。 *2
{name}师从{name_tag}，与{name_tag2}为师兄弟。 *2
{name}的学生有{name_l+2-4、}等。 *2
师承：{name_l}，{name_l}；传人：{name_l+1-3、}。
[法定代表人](TITLE)：{name}；单位：{org}；职务：{post}。
{org}[法定代表人](TITLE)由{name_l}变更为{name_l}。 *2
委托代理人：{name_l}，{org}[律师](TITLE)。 *2
{num}. {name}——{org}{post}
{name}@{org}
{post}/{name}/{years}经验/[{higher}](EDU)/{seat}
封面题字：{name}；装帧设计：{name_tag}；出版：{org}。
特邀嘉宾{name}（{job}）、{name_tag}（{job}）。 *2
本期栏目{post}：{name}；点评：{name_tag}，{job}。
"""
