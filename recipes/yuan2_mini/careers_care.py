"""Rules of trades that heal, teach, search and write: where one works, as what, and what one does there."""

from __future__ import annotations

MEDICINE = """
= med.org
{where}<第一|第二|第三|第四|中心|>人民医院 *3
{county}<人民医院|中医院|妇幼保健院|疾病预防控制中心|卫生院>
{any_school}<附属医院|第一附属医院|附属第二医院|附属口腔医院|附属儿童医院>
{where}{mark}<口腔门诊部|中医馆|康复医院|妇产医院|眼科医院|体检中心|护理院>
{township}<卫生院|中心卫生院>
{seat}<市|>{organs}医院
{lexicon_hospital} *4
{clan}氏{mark}<诊所|药房|骨伤诊所>
{mark}大药房<连锁有限公司|{street}店>
= organs
口腔
胸科
肿瘤
儿童
精神卫生
传染病
骨伤
肛肠
眼耳鼻喉
= street
{townA}{townB}路
{charA}{charB}街
{direction}门
= ward
心内科
心血管内科
神经外科
神经内科
骨科
普外科
急诊科
重症医学科
儿科
新生儿科
产科
妇科
眼科
口腔科
皮肤科
肿瘤科
血液科
肾内科
消化内科
呼吸与危重症医学科
内分泌科
感染科
康复医学科
麻醉科
放射科
超声科
检验科
病理科
药剂科
针灸科
中医科
推拿科
体检中心
手术室
血透室
= med.title
{ward}<主任|副主任|护士长|医师|主治医师|住院医师|副主任医师|主任医师|行政主任|学科带头人> *8
<医务科|护理部|院感科|医保办|信息科|总务科|质控办>{head}
护士 *2
护士长 *2
院长 *2
副院长 *2
党委书记
主管护师
护师
主治医师
住院医师
规培医师
执业药师
药师
检验师
全科医生
乡村医生
理疗师
心理治疗师
营养师
导诊
护工
收费员
医药代表
= head
主任
副主任
科长
副科长
干事
负责人
= med.rank
主任医师 *3
副主任医师 *3
主治医师 *2
主任护师
副主任护师
主管护师
主任药师
副主任技师
执业医师
执业药师
主管技师
博士生导师
硕士生导师
{ward}学教授
= med.major
临床医学
护理
护理学
口腔医学
中医学
针灸推拿
药学
医学检验
医学影像
麻醉学
预防医学
助产
康复治疗
中西医结合
儿科学
眼视光
= med.did
从事{illness}的诊治工作
从事{ward}临床工作{years}
负责病区{few}0余张床位的日常管理
开展{illness}微创手术{many}余例
坐诊{years}，接诊病人数万
参与社区慢病随访与健康宣教
承担{ward}教学查房与带教任务
= illness
冠心病
糖尿病足
脑卒中
小儿哮喘
颈肩腰腿痛
不孕不育
白内障
复杂骨折
早期胃癌
尿毒症
过敏性鼻炎
产后康复
类风湿关节炎
甲状腺结节
= med.skill
熟练掌握静脉穿刺、心肺复苏等基础护理操作
擅长{illness}、{illness}的诊断与治疗
对{illness}有较深的研究
每周<一|二|三|四|五><上午|下午|全天>出诊
能独立完成{illness}常规手术
= med.section
{ward}
药剂科
门诊部
护理部
医务科
= med.college
{where}医学院
{where}卫生学校
{where}<中医药大学|护理职业学院|医学高等专科学校|医科大学>
{brand}医科大学<护理学院|口腔医学院|第{nth}临床学院|>
"""

SCHOOLS = """
= teach.org
{where}<第一|第二|第三|实验|外国语|>中学 *3
{county}第<一|二|三|四|五>{kind_school} *2
{township}<中心小学|中学|中心幼儿园|九年一贯制学校> *2
{where}{mark}<双语学校|幼儿园|实验小学|国际学校|培训学校|艺术培训中心>
{hamlet}<小学|教学点>
{any_school}附属<中学|小学|幼儿园>
{where}特殊教育学校
{where}职业<技术学校|中专|教育中心>
{county}<教师进修学校|教研室|教育局>
= kind_school
小学
中学
初级中学
高级中学
完全小学
= lesson
语文
数学
英语
物理
化学
生物
历史
地理
政治
音乐
美术
体育
信息技术
科学
德育
书法
心理健康
= teach.title
{lesson}教师 *6
<小学|初中|高中|高三|中职>{lesson}教师 *3
班主任 *3
校长 *2
副校长 *2
教导主任
教务处{head}
政教处{head}
总务处{head}
德育处副主任
年级组长
<高一|高二|初三|六>年级组长
{lesson}教研组长 *2
{lesson}教研员
少先队大队辅导员
幼儿教师
保育员
园长
代课教师
民办教师
支教教师
宿舍管理员
党支部书记
团委书记
生活老师
= teach.rank
高级教师 *3
中学高级教师 *2
正高级教师
一级教师 *2
小学高级教师
中学一级教师
{region}特级教师 *2
二级教师
{lesson}特级教师
幼儿园一级教师
= teach.major
学前教育
小学教育
汉语言文学
数学与应用数学
英语
体育教育
音乐学
美术教育
思想政治教育
物理学
化学
教育学
特殊教育
历史学
= teach.did
担任{lesson}教学工作{years}
一直在教学一线工作
送走{few}届毕业生
主持县级课题《{lesson}课堂提问的有效性》
带领学生参加机器人竞赛
承担{few}个班的{lesson}课
= teach.skill
持有<小学|初中|高中>{lesson}教师资格证、普通话二级甲等证书
课堂生动，深受学生和家长喜爱
善于与家长沟通，有耐心、有爱心
能熟练使用希沃白板和常用办公软件
会弹钢琴、跳舞，能组织班级活动
= teach.section
教务处
{lesson}组
高三年级
幼儿园大班
= teach.college
{where}师范<学院|大学|专科学校|学校>
{where}<教育学院|幼儿师范高等专科学校>
{lexicon_university}<教育学院|文学院|数学系|外国语学院|体育系|>
"""

UNIVERSITY = """
= uni.org
{lexicon_university} *3
{lexicon_university}{faculty} *4
{brand}<大学|理工大学|农业大学|科技学院|师范学院>{faculty} *3
{where}<职业技术学院|广播电视大学|开放大学|党校>
{abroad}{sounds}大学<{study}系|>
中国{charA}{charB}科学院{study}研究所
= uni.title
教授 *4
副教授 *4
讲师 *3
助教 *2
系主任 *2
副系主任
院长 *2
副院长 *2
{study}教研室{head}
{study}系{head}
<科研处|教务处|学生处|招生办公室|研究生院|国际合作处>{head2} *2
党委书记
党总支书记
辅导员 *2
博士后 *2
访问学者 *2
特聘教授
讲座教授
实验师
图书馆馆长
校长
副校长
校长助理
外籍教师
兼职教师
= head2
处长
副处长
科长
干事
主任
= uni.rank
教授 *3
副教授 *3
博士生导师 *3
硕士生导师 *3
讲师
研究员
副研究员
{study}教授
二级教授
博士后
= uni.major
{study}
软件工程
通信与信息系统
中国古代文学
马克思主义哲学
世界史
分析化学
凝聚态物理
岩土工程
应用数学
社会学
行政管理
国际贸易
民商法学
= uni.did
研究方向为{study}与{study}
主要从事{study}方面的教学与研究
主讲《{study}概论》《{study}史》等课程
主持国家自然科学基金{few}项
发表论文{many}余篇，出版专著{few}部
指导研究生{many}余名
= uni.skill
学风严谨，治学勤勉
英语可作工作语言
获省教学成果一等奖
论文被引{many}余次
= uni.section
{study}教研室
图书馆
学生处
= uni.honour
入选省部级青年人才计划
获省科技进步<一|二|三>等奖
获宝钢教育奖
= lab.org
{region}{study}研究所 *2
中国{study}科学研究院<|{where}分院>
{where}<农业科学院|林业科学研究所|环境监测站|气象台|地震局|药品检验所|计量测试院>
{lexicon_university}{study}<实验室|研究中心>
{mark}<实验室|研究院|材料研究院|生物技术研究所>
{abroad}{sounds}研究所
国家{study}工程技术研究中心
= lab.title
研究员 *3
副研究员 *3
助理研究员 *2
博士后 *2
实验员
课题组长
第{nth}研究室{head}
{study}研究室{head} *2
所长
副所长
首席科学家
学术秘书
科研助理
工程师
高级工程师
总工程师
观测员
= lab.rank
研究员 *2
副研究员 *2
正高级工程师
高级工程师 *2
助理研究员
高级实验师
农艺师
推广研究员
= lab.major
生物化学
遗传育种
植物保护
大气科学
分析化学
材料物理
环境工程
土壤学
微电子学
生态学
应用化学
= lab.did
从事{study}应用基础研究
长期驻守野外观测站
参与国家重点研发计划{few}项
以第一作者发表SCI论文{few}篇
育成新品种{few}个，推广{many}万亩
= lab.skill
熟练使用气相色谱、扫描电镜等仪器
掌握Python、R及常用统计方法
获授权发明专利{few}项
= lab.college
{lexicon_university}<生命科学学院|化学系|农学院|材料学院|>
{abroad}{sounds}大学
"""

LETTERS = """
= press.org
{journal} *3
{region}<日报社|广播电视台|晚报社|人民出版社|电视台> *2
{where}<日报社|电视台|融媒体中心|广播电台>
{brand}<出版社|传媒有限公司|文化工作室|图书有限公司|新媒体> *2
{brand}文艺出版社
{abroad}《{charA}{charB}<时报|新闻>》
{region}作家协会
= press.title
记者 *3
首席记者
编辑 *3
文字编辑
责任编辑
主编 *2
副主编
总编辑
副总编辑
编审
社长
{desk}记者
{desk}主任
{desk}编辑
摄影记者
主持人
播音员
评论员
驻{overseas_city}记者
专栏作家
特约撰稿人
校对
新媒体运营
编导
制片人
通讯员
专业作家
签约作者
= desk
时政部
经济部
文艺部
社会新闻部
副刊部
深度报道部
新闻中心
第一编辑室
国际部
= press.rank
高级记者
主任记者
高级编辑
主任编辑
编审
副编审
作家 *2
诗人 *2
一级作家
翻译家
记者
= press.major
新闻学
汉语言文学
广播电视编导
播音与主持艺术
编辑出版学
传播学
网络与新媒体
法语
= press.did
著有长篇小说{work_title}、诗集{work_title}
跑过法治、教育、农业等条线
采写的通讯获省好新闻奖
译有{work_title}等{few}种
长期从事副刊编辑工作
业余写诗，作品散见于各地报刊
= press.skill
文字功底扎实，能写消息、通讯与评论
熟悉短视频拍摄与剪辑
能接受夜班与突发采访
= press.section
副刊部
要闻部
总编室
= press.college
{lexicon_university}<新闻系|中文系|新闻与传播学院|文学院>
{lexicon_university}
= museum.org
{where}<博物馆|图书馆|文化馆|美术馆|档案馆|科技馆|群众艺术馆|文物局> *3
{county}<文物管理所|非物质文化遗产保护中心|志办公室|文化馆>
{mark}<艺术馆|美术馆|古籍书店|画廊>
{where}<考古研究院|自然博物馆|规划展览馆>
= museum.title
馆长 *2
副馆长 *2
<陈列部|保管部|古籍部|采编部|宣教部|借阅部>{head} *3
讲解员 *2
文物修复师
策展人
古籍修复员
图书管理员
考古领队
档案员
志愿讲解员
典藏研究员
= museum.rank
研究馆员
副研究馆员 *2
馆员 *2
助理馆员
文博馆员
省级非物质文化遗产代表性传承人
= museum.major
考古学
文物保护技术
图书馆学
博物馆学
档案学
历史文献学
= museum.did
参加{town}遗址发掘{few}次
修复古籍{many}余册
整理馆藏碑帖{many}余种
策划展览{few}个
= museum.skill
熟悉文物登录与数字化流程
擅长金石传拓
= museum.section
陈列部
保管部
= tongue.org
{brand}翻译<有限公司|社|中心>
{where}外事办公室
{lexicon_university}<外国语学院|翻译学院>
{abroad}驻{seat}总领事馆
{mark}国际会展公司
{mark}<旅行社|国际旅行社有限公司> *2
= tongue.title
<英语|日语|法语|德语|俄语|韩语|西班牙语|泰语>{speaker} *5
同声传译
译审
翻译
导游 *2
领队
计调
外联专员
项目经理
= speaker
翻译
导游
教师
译员
主管
= tongue.rank
译审
副译审
一级翻译
高级导游
中级导游
= tongue.major
英语
日语
翻译
旅游管理
商务英语
法语
朝鲜语
= tongue.did
从事<口译|笔译|同传>{years}
译稿累计{many}万字
带团足迹遍及{few}0多个国家
= tongue.skill
通过<英语专业八级|日语能力考试N1|大学英语六级>
口语流利，普通话标准
"""
