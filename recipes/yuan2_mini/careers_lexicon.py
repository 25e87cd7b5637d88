"""Rules for what every trade shares: places, invented proper names, schooling, parties, posts in clubs."""

from __future__ import annotations

PLACES = """
= river
{charA}{charB}
= seat
{town} *5
{river}
= county
{seat}县 *3
{seat}区
{seat}
= township
{charA}{charB}<镇|乡|镇|街道>
{townA}{townB}<镇|乡|镇|公社>
= townA
石
柳
沙
大
白
龙
双
三
黄
青
桃
南
长
古
马
杨
李家
高
新
枣
= townB
桥
河
坪
沟
湾
岭
店
集
塘
坝
庄
渡
洼
口
铺
坡
垭
= hamlet
{townA}{townB}村 *3
{charA}{townB}村 *2
{clan}家<庄|湾|沟|寨|坳|窑|营|坨>村
<上|下|前|后|东|西>{charA}{townB}村
= clan
张
李
王
刘
周
郑
何
孙
马
韩
潘
覃
龚
罗
彭
佟
= direction
东
南
西
北
= where
{seat} *4
{region} *2
{region}{town}
= abroad
美国
英国
德国
法国
日本
韩国
加拿大
澳大利亚
新加坡
意大利
荷兰
瑞典
俄罗斯
瑞士
新西兰
丹麦
比利时
芬兰
奥地利
马来西亚
泰国
以色列
西班牙
= overseas_city
伦敦
纽约
东京
大阪
巴黎
柏林
慕尼黑
悉尼
墨尔本
多伦多
温哥华
首尔
曼谷
吉隆坡
迪拜
新德里
莫斯科
内罗毕
开罗
米兰
旧金山
波士顿
日内瓦
维也纳
圣保罗
= origin
{place} *3
{place}人 *3
{origin_town} *4
{origin_town}人 *6
{region} *1
{town}人
{province}{town}<县|市|>人
{river}县人
= birthplace
{place} *3
{origin_town} *5
{town}
{overseas_city}
{province}{river}县
"""

NAMES = """
= brand
{charA}{charB} *8
{charA}{charB}{charA}
{charA}{charB}
{charA}{charB}<达|来|尔|源|泰|邦|科|堂>
= named
[{name_}](NAME)
= penname
{charA}{charB} *3
{charB}之
阿{charA}
{charA}{charB}{charA}
老{charA}
= courtesy
{charA}{charB} *3
{charA}之
子{charA}
伯{charB}
仲{charB}
= english
David
Kevin
Jason
Tony
Eric
Frank
Peter
Michael
Daniel
Leo
Ryan
Victor
Andy
Simon
Jack
= english_woman
Lily
Amy
Grace
Vivian
Cindy
Helen
Emma
Alice
Cherry
Fiona
Nancy
Susan
Jenny
Sophia
Yoyo
= english_
<{english}|{english_woman}>

= dharma
释{charD}{charE} *3
{charD}{charE}
= charD
常
智
妙
慧
法
净
本
觉
宏
悟
圆
明
果
印
= charE
空
照
贤
真
修
容
禅
海
月
清
善
方
云
忍
= work_title
《{charA}{charB}<集|记|录|志|图|赋|行|歌>》
《{charB}<上|下|中|间|外>的{charA}<|风|雪|人|灯>》
《<我的|一个|最后的|远去的><故乡|村庄|父亲|渡口|春天|码头|老师|河流>》
《{town}<往事|纪行|风物志|十日|民歌>》
《{study}<概论|导论|基础|教程|原理与应用|案例集>》
= journal
《{study}<研究|学报|进展|通讯|评论|与实践>》 *2
《{region}<日报|青年报|文学|画报|教育|社会科学|农业>》
《{town}<日报|晚报|晨报|文艺>》 *2
《{charA}{charB}<周刊|文艺|诗刊|月刊|财经|评论>》
《中国{study}<杂志|学刊|>》
《<今日|当代|中外>{study}》
= study
教育
语文教学
临床护理
中医药
机械工程
材料科学
水利
城市规划
法学
经济
档案
图书馆
音乐
美术
舞蹈
戏剧
电影
体育
农业机械
园艺
畜牧
水产
林业
食品科学
环境保护
电力系统
自动化
计算机应用
通信技术
气象
地质
测绘
交通运输
建筑
民俗
历史
考古
哲学
心理
外语
翻译
新闻
出版
旅游
烹饪
会计
统计
金融
人口
社会工作
口腔医学
儿科
药学
营养
麻醉
影像
检验
针灸
"""

SCHOOLING = """
= degree_word
博士 *3
硕士 *4
学士 *4
博士学位
硕士学位 *2
学士学位 *2
= level
{lexicon_degree} *6
{higher} *6
{lower} *5
= higher
本科 *4
大专 *4
本科学历 *3
大专学历 *2
大学本科 *3
大学本科学历 *2
大学专科
专科
专科学历
大学学历 *2
大学
研究生 *2
研究生学历 *2
硕士研究生 *3
硕士研究生学历
博士研究生 *2
博士研究生学历
硕士 *2
博士 *2
硕士学位 *2
博士学位
学士学位
在职研究生
在职研究生学历
函授本科
自考本科
双学士
= lower
大学文化 *2
大专文化 *2
中专 *3
中专学历 *2
中技
技校
高中 *3
高中学历 *2
高中文化 *2
初中 *2
初中文化
初中学历
小学文化
职高
MBA
EMBA
= discipline
工学 *3
理学 *2
医学 *2
文学 *2
法学
管理学
农学
历史学
哲学
教育学
经济学
艺术学
军事学
法律
工程
公共管理
{major} *4
= edu
[{level}](EDU) *4
[{discipline}](PRO)[{degree_word}](EDU) *3
[{@major}专业](PRO)[{higher}](EDU)
[{@major}](PRO)[{degree_word}](EDU) *3
[{higher}](EDU)、[{degree_word}](EDU)
[{@major}](PRO)[{degree_word}](EDU)、[{@major}](PRO)[{degree_word}](EDU)
[<省委党校|中央党校|{province}委党校>](ORG)[<研究生|大学|本科>学历](EDU)
= edu_high
[{higher}](EDU) *2
[{discipline}](PRO)[{degree_word}](EDU) *3
[{@major}](PRO)[{degree_word}](EDU) *3
[{@major}专业](PRO)[{higher}](EDU)
= pro
[{@major}专业](PRO) *3
[{@major}](PRO)
= any_school
{lexicon_university} *6
{lexicon_university}{faculty} *3
{abroad}{sounds}<大学|理工大学|学院|皇家学院|国立大学|州立大学>
{abroad}{charA}{charB}<大学|女子大学|工科大学>
{brand}<大学|理工大学|师范大学|学院|职业技术学院|工学院|财经大学|交通大学> *3
{brand}<大学|师范大学|科技大学>{faculty} *2
{region}<{charA}{charB}|第二|工业|师范>{college_kind}
{latin}<University|College>
中共<中央|{region}省委|{town}市委>党校
= low_school
{town}<师范|职业技术|农业|工业|卫生|财贸|警察>学校 *2
{region}{trade_school}学校 *2
{town}第<一|二|三|四|六|八>中学 *2
{county}<职业中学|高级中学|师范学校|成人教育中心>
{brand}<中学|技工学校|职业高中|高级中学>
= college_kind
大学
学院
高等专科学校
职业学院
= trade_school
水利水电
交通
供销
林业
煤炭工业
商业
轻工业
财贸
建筑工程
邮电
铁路运输
粮食
戏曲
机械工业
= faculty
{study}学院
{study}系 *2
研究生院
{lexicon_faculty} *2
= party
[中共党员](TITLE) *6
[中国共产党党员](TITLE)
[中共预备党员](TITLE)
[共青团员](TITLE) *2
[民建](ORG)[会员](TITLE)
[民革党员](TITLE)
[农工党党员](TITLE)
[无党派人士](TITLE)
[致公党党员](TITLE)
[民盟](ORG)[盟员](TITLE)
[民进](ORG)[会员](TITLE)
[九三学社](ORG)[社员](TITLE)
= joins
[中国共产党](ORG) *5
[中国共产主义青年团](ORG)
[九三学社](ORG)
[中国民主同盟](ORG)
[中国农工民主党](ORG)
= nation
[{country}国籍](CONT) *2
[{country}籍](CONT) *2
[中国国籍](CONT) *6
[中国籍](CONT) *2
[中国公民](CONT)
[国籍：{country}](CONT)
= residence
无境外永久居留权
拥有{country}永久居留权
无境外居留权
未取得其他国家居留权
持有{country}绿卡
= foreign
[{country}国籍](CONT) *3
[{country}籍](CONT) *3
[{country}公民](CONT)
[国籍：{country}](CONT)
= folk
[{ethnic}](RACE) *4
[汉族](RACE) *2
[汉](RACE)
"""

CLUBS = """
= club
{region}{study}<学会|研究会|协会> *2
{town}市{study}<学会|协会> *2
中国{study}<学会|协会> *2
{town}市<工商联|青年联合会|妇女联合会|慈善总会|残疾人联合会|科学技术协会|个体劳动者协会|志愿者联合会>
{region}{trade_word}<行业协会|商会|产业联盟>
{town}{charA}{charB}<商会|书画院|诗社|读书会|公益基金会|志愿服务队>
{abroad}{study}学会
中华医学会{study}分会
国际{study}联合会
{region}{study}学会{study}专业委员会
= trade_word
物流
餐饮
印刷
家具
茶叶
服装
软件
装饰
养老服务
酿酒
陶瓷
汽车维修
美容美发
水果
花卉
珠宝
宠物
模具
灯饰
民宿
= club_post
理事 *4
常务理事 *3
会员 *4
副会长 *3
会长
秘书长
副秘书长
委员 *3
常委
名誉会长
顾问
副主席
主席
监事
候补理事
青年委员
副主任委员 *2
主任委员
专家组成员
特邀研究员
= membership
[{club}](ORG)[{club_post}](TITLE) *5
[{club}](ORG)[{club_post}](TITLE)、[{club_post:m}](TITLE)
[{club}](ORG)、[{club}](ORG)[{club_post}](TITLE)
[{journal}](ORG)[<编委|审稿人|主编|副主编|特约编辑|青年编委|专栏作者>](TITLE) *2
[{town}市政协](ORG)[<委员|常委|特邀委员>](TITLE)
[{region}政协](ORG)[委员](TITLE)
[第{nth}届{province}人大代表](TITLE)
[{town}市<第{nth}届|>人大代表](TITLE)
[{any_school}](ORG)[<客座教授|兼职教授|校外导师|特聘教授|产业教授|兼职硕士生导师>](TITLE)
"""
