"""Style sheet of reports. Self-contained: no external font, image or script; colours follow light or dark mode."""

STYLE = """
:root { color-scheme: light dark; --paper: #ffffff; --soft: #f3f5f8; --ink: #1a222c; --muted: #5b6876; --line: #d6dce3;
  --accent: #2468a8; --mark: #c9502a; --tint: #aebccb; --good: #3e8a5c; --third: #8560b8; --fourth: #a57a1c; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #14191f; --soft: #1d242c; --ink: #e4e9ee; --muted: #9aa6b2; --line: #36404b;
    --accent: #6cb0ea; --mark: #f28a5b; --tint: #56646f; --good: #74c594; --third: #b898e6; --fourth: #dcb45a; } }
@media print { :root { color-scheme: light; --paper: #ffffff; --soft: #f3f5f8; --ink: #1a222c; --muted: #5b6876;
  --line: #d6dce3; --accent: #2468a8; --mark: #c9502a; --tint: #aebccb; --good: #3e8a5c; --third: #8560b8;
  --fourth: #a57a1c; } * { print-color-adjust: exact; -webkit-print-color-adjust: exact; } }
@page { margin: 15mm; }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main { max-width: 1000px; margin: 0 auto; padding: 40px 24px 56px; }
header { border-bottom: 2px solid var(--ink); padding-bottom: 14px; }
.kicker { margin: 0; color: var(--muted); font-size: 12px; letter-spacing: .08em; text-transform: uppercase; }
h1 { margin: 2px 0 6px; font-size: 28px; line-height: 1.2; font-weight: 650; overflow-wrap: anywhere; }
.answer { margin: 4px 0 8px; font-size: 18px; line-height: 1.45; max-width: 46em; }
.next { margin: 0 0 10px; overflow-wrap: anywhere; }
.next code { background: var(--soft); padding: 2px 6px; }
.lead { margin: 0; color: var(--muted); max-width: 54em; }
.lead strong { color: var(--ink); }
h2 { margin: 40px 0 4px; font-size: 18px; font-weight: 650; }
h3 { margin: 0 0 4px; font-size: 13px; font-weight: 650; }
.note { margin: 0 0 10px; color: var(--muted); font-size: 13.5px; max-width: 60em; }
code, pre { font: 13px/1.5 ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; }
.facts { display: flex; flex-wrap: wrap; margin: 20px 0 0; gap: 1px; }
.facts div { flex: 1 1 112px; padding: 11px 12px 12px; outline: 1px solid var(--line); }
.facts dt { color: var(--muted); font-size: 12.5px; }
.facts dd { margin: 1px 0 0; font-size: 21px; line-height: 1.3; font-weight: 600; white-space: nowrap;
  font-variant-numeric: tabular-nums; }
.facts dd.code { font: 600 17px/27px ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; }
.facts small { display: block; color: var(--muted); font-size: 12.5px; line-height: 1.4; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: 14px; font-variant-numeric: tabular-nums; }
.wide { width: 100%; }
th, td { padding: 5px 12px 5px 0; text-align: left; vertical-align: baseline; border-bottom: 1px solid var(--line); }
th { color: var(--muted); font-size: 12.5px; font-weight: 500; white-space: nowrap; }
thead th { border-bottom: 1px solid var(--ink); vertical-align: bottom; }
.number { text-align: right; padding: 5px 0 5px 16px; white-space: nowrap; }
td small { display: block; color: var(--muted); font-size: 12.5px; font-weight: 400; white-space: pre-line; }
.number small { white-space: pre; }
.number + :not(.number) { padding-left: 28px; }
.wide tr > :first-child { position: sticky; left: 0; background: var(--paper); overflow-wrap: break-word;
  min-width: 110px; }
tr.chosen td { font-weight: 650; background: color-mix(in srgb, var(--mark) 10%, transparent); }
.wide tr.chosen > :first-child { background: color-mix(in srgb, var(--mark) 10%, var(--paper)); }
tr.total td { font-weight: 650; border-bottom: 0; }
tr.total + tr.total td { padding-top: 0; }
.tag { color: var(--mark); font-size: 12px; font-weight: 650; margin-left: 8px;
  display: inline-block; overflow-wrap: normal; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(330px, 1fr)); gap: 0 36px; }
figure { margin: 6px 0 0; }
figcaption { margin-top: 6px; font-size: 13.5px; max-width: 60em; }
svg { display: block; max-width: 100%; height: auto; }
details { margin-top: 40px; border-top: 1px solid var(--line); padding-top: 10px; }
summary { cursor: pointer; }
summary h2 { display: inline; }
details > div { margin-top: 12px; }
.warnings { margin: 12px 0; padding: 0 0 0 18px; }
.warnings li::marker { color: var(--mark); }
.ok { color: var(--good); }
.gallery { display: flex; flex-wrap: wrap; gap: 10px 14px; }
.gallery figure { margin: 0; width: 132px; font-size: 12.5px; }
.gallery figcaption { font-size: 12.5px; line-height: 1.35; margin-top: 3px; overflow-wrap: anywhere; }
.gallery img { width: 132px; height: 132px; object-fit: contain; image-rendering: pixelated; display: block;
  background: #000; }
.bar { height: 12px; background: var(--soft); outline: 1px solid var(--line); margin: 18px 0 0; }
.bar div { height: 100%; background: var(--accent); }
.picture { border: 1px solid var(--line); padding: 16px 18px 12px; overflow-x: auto; }
.picture pre { margin: 0; }
.picture svg + pre { margin-top: 10px; padding-top: 12px; border-top: 1px solid var(--line); }
.confusion td { text-align: center; padding: 12px 8px; min-width: 84px; border: 2px solid var(--paper);
  line-height: 1.25; }
.confusion td b { display: block; font-size: 19px; font-weight: 600; }
.confusion td span { color: var(--muted); font-size: 12.5px; }
.confusion th { border: 0; text-align: center; padding: 4px 8px; }
.confusion tbody th { text-align: right; }
.confusion.crowded td { padding: 6px 4px; min-width: 0; width: 68px; }
.confusion.crowded td b { font-size: 15px; }
.confusion.crowded th { font-size: 11.5px; padding: 4px; white-space: normal; }
.settings { columns: 2 380px; column-gap: 36px; }
.settings section { break-inside: avoid; padding-bottom: 14px; }
.settings td { font-size: 13px; padding: 3px 0 3px 12px; overflow-wrap: anywhere; }
.settings td:first-child { color: var(--muted); padding-left: 0; width: 34%; vertical-align: top; }
@media screen and (max-width: 640px) {
  .stacked thead { display: none; }
  .stacked, .stacked tbody { display: block; }
  .stacked tr { display: block; padding: 8px 0; border-bottom: 1px solid var(--line); }
  .stacked td { display: flex; justify-content: space-between; gap: 16px; padding: 1px 0; border: 0;
    white-space: normal; overflow-wrap: anywhere; text-align: right; }
  .stacked td:first-child { font-weight: 650; }
  .stacked td::before { content: attr(data-name); color: var(--muted); font-weight: 400; text-align: left;
    overflow-wrap: normal; } }
footer { margin-top: 40px; padding-top: 10px; border-top: 1px solid var(--line); color: var(--muted);
  font-size: 12.5px; }
figure, tr, .facts, .picture { break-inside: avoid; }
@media (max-width: 640px) { main { padding: 24px 14px 40px; } h1 { font-size: 24px; } .answer { font-size: 16px; }
  .picture { padding: 12px 10px; } .picture svg { max-width: none; } svg.plot.broad { min-width: 720px; }
  .pair { grid-template-columns: minmax(0, 1fr); } .settings { columns: 1; }
  .wide tr > :first-child { max-width: 130px; } .number { padding-left: 10px; }
  .facts dd { font-size: 18px; } .facts dd.code { font-size: 14px; }
  td img, td > svg { max-width: 29vw !important; } }
@media print { main { max-width: none; padding: 0; } .scroll, .picture { overflow: visible; } body { font-size: 12px; }
  table { font-size: 11px; } th, td small { font-size: 10px; } .number { padding-left: 8px; }
  svg.plot.broad { min-width: 0; }
  .pair { grid-template-columns: 1fr 1fr; gap: 0 20px; } .wide tr > :first-child { position: static; }
  details::details-content { content-visibility: visible; block-size: auto; } }
h2, h3, .note { break-after: avoid; }
svg.plot { font: 12px system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; width: 100%; }
.plot text { fill: var(--muted); }
.plot .name, .plot .key { fill: var(--ink); }
.plot .grid { stroke: var(--line); stroke-width: 1; }
.plot .axis { stroke: var(--muted); stroke-width: 1; fill: none; }
.plot .cloud { stroke: var(--tint); stroke-width: 3.4; stroke-linecap: round; fill: none; stroke-opacity: .55; }
.plot .trained { fill: var(--accent); fill-opacity: .4; stroke: var(--accent); stroke-opacity: .7; }
.plot .front { fill: var(--accent); stroke: var(--paper); stroke-width: 1.2; }
.plot .chosen { fill: var(--mark); stroke: var(--paper); stroke-width: 1.5; }
.plot circle:hover { stroke: var(--ink); stroke-width: 2; stroke-opacity: 1; }
.plot .label { fill: var(--mark); font-weight: 650; paint-order: stroke; stroke: var(--paper); stroke-width: 4px; }
.plot .curve { fill: none; stroke: var(--accent); stroke-width: 2; stroke-linejoin: round; }
.plot .area { fill: var(--accent); fill-opacity: .14; }
.plot .chance { fill: none; stroke: var(--muted); stroke-width: 1; stroke-dasharray: 2 4; }
.plot .group { fill: var(--accent); stroke: var(--paper); stroke-width: .8; }
.plot .pale { fill-opacity: .35; stroke: none; }
.plot .tone1 { stroke: var(--mark); } .plot .tone2 { stroke: var(--good); } .plot .tone3 { stroke: var(--third); }
.plot .tone4 { stroke: var(--fourth); } .plot .tone5 { stroke: var(--muted); }
.plot .fill1 { fill: var(--mark); } .plot .fill2 { fill: var(--good); } .plot .fill3 { fill: var(--third); }
.plot .fill4 { fill: var(--fourth); } .plot .fill5 { fill: var(--muted); }
.plot .thin { stroke-width: 1.5; stroke-dasharray: 6 3; }
"""
