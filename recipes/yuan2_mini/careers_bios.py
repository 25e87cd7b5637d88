"""Biographies in the third person, and pieces of them."""

from __future__ import annotations

BIOGRAPHIES = """
= bio
{name}，{id_row}。 *3
{name}，{id_row}，{work}。 *4
{name}，{id_row}。{work+1-2；}。 *3
{name}，{id_row}。{studied}。{work+1-3。}。 *2
{name}{hon}，{id_row}，{work}。 *2
{name}{hon}，{id_row}。{ta}{study_me}，{work_me}。
{name}：{id_row}；{studied}；{work}。
{name}，{id_clause*1-4}。 *2
{name}，{id_clause*1-3}，{work}。 *3
{name}{hon}，{id_clause*1-3}，{work}。 *2
{name}，{sex}，{id_clause*2-5}。{work+1-2}。
{name}，{sex}，{id_clause*1-3}，{studied}，{work}。
{name}{hon}，<{id_clause*1-2}，|>{studied}，{work}。
{name}：{id_clause*1-4}，{work}。
{name}：{sex}，{id_clause*1-4}。{work+1-3；}。
{name}{hon}：{work+1-2}，{did}。
{name}，{job}。 *2
{name}，{job}，{did}。 *2
{name}，{posts}。
{name}，{rank}，{job}。
{name}，{rank}、{rank}，{job}，{did}。
{name}（{sex}，{folk}），{id_clause*1-2}，{work}。
{name}（{folk}），{id_edu}，{work}。
{name}（{born}—），{id_clause*1-2}，{job}。
{name}，{id_clause*1-2}，{did}。
{name}，{did}，{work}。
{name}{did}，{work_me}。
{name}，{work+1-3；}。 *2
{name}{hon}{work_me}。 *2
{name}{work_me}，{did}。 *2
{name}{hon}{study_me}，{work}。
{name}{study_me}。
{name}{hon}自{ym}起任{job}，此前{work_me}。
{name:1}，{id_clause*1-3}。{surname:1}{hon}{work_me}。
{name:1}{hon}，{studied}。{surname:1}{hon}{work_me}，{did}。
{name:1}，{id_row}。{name:1}{work_me}。
{name:1}{hon}{study_me}，{ym}加入{org:1}，现任{org:1}{post}。
{name:1}{work_me}。{ym}，{name:1}出任{org}{post}，{did}。
{post}{name}，{id_clause*1-3}，{work}。 *2
{post}：{name}，{id_clause*1-2}，{work}。
{job}{name}，{id_clause*1-3}。 *2
{job}{name}<{hon}|>{work_me}。
{rank}{name}，{sex}，{id_clause*1-2}，{did}。
{rank}、{job}{name}，{id_clause*1-2}，{did}。
{id_edu}的{name}，{work}。
曾任{org}{post}的{name}<{hon}|>{work_me}。
{alma}毕业的{name}<{hon}|>，{work}。
{org}{post}、{post}{name}，{id_row}。
{name}，{nation}，{id_clause*1-2}，{studied}；{work+1-3；}。
{name}。{id_clause*1-3}。{work+1-2。}。
{name}·{post}·{org}
{name}／{post}，{did}。
= bio_long
{name}，{id_row}。{studied+1-2。}。{work+3-5。}。{did}。
{name}，{id_row}，{studied}；{work+3-6；}；{work_v}。
{name}，{id_clause*2-4}。{work+3-7；}。
{name}{hon}，{id_clause*1-3}。{studied}；{work+2-4；}；{did}。
{name}，{id_row}。历任{path}，{path}，{path}，现任{job}。
{name}，{id_row}，历任{path}，{path}，{path}，{path}，现任{job}，兼任{membership}。
{name:1}{hon}，{id_clause*1-2}。{surname:1}{hon}{study_me}，{work_me}。{surname:1}{hon}{work_me}。{ta}{work_me}。
{name:1}{hon}，{id_row}。{surname:1}{hon}{work_me}，{work_t}；{work_t}。此外，{surname:1}{hon}{work_v}。
{name}，{id_row}。{span}任{job}；{span}任{job}；{span}任{job}；{since}任{job}。
{name}，{id_row}。{span}{org}{post+1-2、}；{span}{org}{post+1-2、}；{span}{org}{post+1-3、}；{span}{org}{post+1-2、}；{since}{org}{post}
= fragment
{work}。 *4
{work_t}。 *3
{work}，{work}。 *3
{work+2-3；}。 *4
{work+2-3。}。 *2
{work}，{did}。 *3
{work+3-5；}
{studied}。 *2
{studied}，{work}。 *3
{studied+2-2；}。
{studied}，{did}。
{id_row}。 *2
{id_row}，{work}。 *2
{id_row}。{work+1-2；}。
{id_clause*1-3}。 *3
{id_clause*1-3}，{work}。 *3
{id_clause*2-4}，{studied}。
{id_clause*2-3}，{did}。
{did}，{work}。 *2
工作经历：{work_t+1-3；}。 *2
工作经历：{work_t+1-3，}
工作履历¶{span}{job}¶{span}{job}¶{since}{job}
教育背景：{studied+1-2；}
学习经历：{study_t}；{study_t}。
{span}{job}；{span}{job}；{span}{job} *2
{span}{job}；{span}{job}；{since}{job}
{span}，{org}，{post}；{since}，{org}，{post}。
{span}{org}{post}；{since}{org}{post}
{org:1}{post}；{span}任{org:1}{post}。
{span}在{org:1}工作，任{post}；{ym}离开{org:1}，到{org}任{post}。
{ym}进入{org:1}，{ym}任{org:1}{post}，{ym}任{org:1}{post}。
{ta}{work_me}。 *2
{ta}{study_me}，{work}。
{surname}{hon}{work_me}。 *3
{surname}{hon}{work_me}，{work_t}。
{surname}{hon}{study_me}，{work}。
{surname}{hon}{did}，{work}。
{surname}老师{work_me}，{did}。
{surname}{hon}现为{job}，此前{work_me}。
{surname}{hon}为{membership}，{did}。
{hon}{work_me}。
现任{org}{post}，{membership}，{membership}。
主要社会兼职：{membership}、{membership}、{membership}。
学术兼职：{membership}；{membership}。
兼职：{membership}。
其间于{span}{study_me}。
期间，{work_v}。
此外，{work_v}。
此后，{work_me}。
毕业后，{work_me}。 *2
退伍后，{work_me}。
退休前，{work_v}。
离职后，{work_me}。
{ym}至今，一直在{org}从事{section}工作。
同年{study_v}。
{org}任期内，{did}。
{job}，{did}。 *2
{job}。
{posts}。
{rank}，{job}。 *2
{rank}，{did}。
{nation}，{edu}，{rank}。
{folk}，{edu}，{rank}，{party}。
{nation}，{residence}。
职称：{rank}。现任职务：{job}。
"""

ALIASES = """
= alias
{name}，原名[{name_}](NAME)，{id_clause*1-2}，{work}。 *2
{name}（曾用名：[{name_}](NAME)），{id_row}。 *2
{name}，曾用名[{name_}](NAME)、[{name_}](NAME)，{id_row}。
{name}，笔名[{penname}](NAME)，{id_clause*1-2}，{work}。 *2
{name}（笔名[{penname}](NAME)、[{penname}](NAME)），{job}，{did}。
[{penname}](NAME)，本名{name}，{id_clause*1-2}，{job}。 *2
{name}，字[{courtesy}](NAME)，号[{courtesy}](NAME)，{id_clause*1-2}，{work}。
{name}，字[{courtesy}](NAME)，[{origin}](LOC)，{job}。
{name}，别名[{name_}](NAME)，{work}。
{name}，艺名[{penname}](NAME)，{job}，{did}。
{name}，英文名[{english_}](NAME)，{edu}，{work}。 *2
{name}（[{english_}](NAME)），{job}。
{name}（[{latinname}](NAME)），{foreign}，{work}。
{name}（英文名：[{latinname}](NAME)），{id_row}。
[{translated}](NAME)（[{latinname}](NAME)），{foreign}，{work}。 *3
[{translated}](NAME)，{foreign}，{edu}，{job}。 *3
[{translated}](NAME){hon}，{sex}，{foreign}，{studied}，{work}。
[{latinname}](NAME)，{foreign}，{work}。 *2
[{latinname}](NAME){hon}，{id_birth}，{id_edu}，{job}。
[{translated}](NAME)，中文名[{name_}](NAME)，{foreign}，{work}。
[{translated}](NAME)，{sex}，{birth}生于[{overseas_city}](LOC)，{studied}，{work}。
[{dharma}](NAME)，俗姓[{clan_name}](NAME)，[{origin}](LOC)，{work}。
[{dharma}](NAME)，俗名{name}，{id_clause*1-2}，{work}。
{name}，法号[{dharma}](NAME)，{work}。
{name}，小名[{penname}](NAME)，{id_clause*1-2}。
我叫{name}，英文名[{english_}](NAME)，{work_me}。
户口簿上的名字是{name}，村里人叫{ta}[{penname}](NAME)，{job}。
{name:1}又名[{name_}](NAME)，{job}；{name:1}{did}。
{name}，本名[{name_}](NAME)，{party}，{rank}，{did}。
{name}早年叫[{name_}](NAME)，{y}到{org}当{post}时改的名。
原名[{name_}](NAME)，{id_clause*1-2}。
曾用名[{name_}](NAME)，{work}。
[{english_}](NAME)是{name}的英文名，{ta}{work_me}。
与{name}同名的还有{org}{post}。
"""
