"""The style sheet of the page."""

CSS = """
:root { --ink: #0f172a; --soft: #475569; --line: #e2e8f0; --blue: #2563eb; }
* { box-sizing: border-box; }
body { margin: 0; background: #f8fafc; color: var(--ink);
  font: 15px/1.55 system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: 40px 20px 64px; }
h1 { font-size: 30px; line-height: 1.2; margin: 2px 0 10px;
  letter-spacing: -0.02em; overflow-wrap: anywhere; }
h2 { font-size: 18px; margin: 0 0 4px; letter-spacing: -0.01em; }
p { margin: 0 0 12px; color: var(--soft); max-width: 110ch; }
.eyebrow { color: var(--blue); font-weight: 600; font-size: 13px; }
.facts { display: flex; flex-wrap: wrap; gap: 6px; }
.facts span { background: #fff; border: 1px solid var(--line); font-size: 13px;
  border-radius: 99px; padding: 2px 12px; color: var(--soft); }
.verdict { border-left: 4px solid #d97706; background: #fffbeb; color: #78350f;
  padding: 12px 16px; border-radius: 0 8px 8px 0; margin: 12px 0 0;
  max-width: none; }
.verdict.good { border-color: #059669; background: #ecfdf5; color: #064e3b; }
.tiles { display: grid; gap: 12px; margin: 20px 0 0;
  grid-template-columns: repeat(auto-fit, minmax(190px, 1fr)); }
.tile, section { background: #fff; border: 1px solid var(--line);
  border-radius: 12px; }
.tile { padding: 14px 18px; }
.tile b { display: block; font-size: 27px; line-height: 1.25;
  letter-spacing: -0.02em; font-variant-numeric: tabular-nums; }
.tile span { color: var(--soft); font-size: 13px; }
section { margin-top: 16px; padding: 20px 22px; }
img { display: block; max-width: 100%; height: auto; margin: 8px 0; }
.beside { display: flex; flex-wrap: wrap; gap: 8px 40px;
  align-items: center; }
.beside > div { max-width: 100%; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 14px;
  font-variant-numeric: tabular-nums; }
table.narrow { width: auto; }
th, td { text-align: right; padding: 7px 10px;
  border-bottom: 1px solid var(--line); }
td { white-space: nowrap; }
table.wrap td:last-child { white-space: normal; text-align: left; }
table.wrap th:last-child { text-align: left; }
th { color: var(--soft); font-weight: 600; font-size: 12.5px;
  vertical-align: bottom; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
tr:last-child td { border-bottom: 0; }
table.headline tr:nth-child(2) td { font-weight: 600; }
dl { columns: 2 360px; column-gap: 40px; margin: 8px 0 14px; font-size: 14px; }
dl div { display: grid; grid-template-columns: 190px 1fr; gap: 12px;
  padding: 2px 0; break-inside: avoid; }
dt { color: var(--soft); }
dt, dd { overflow-wrap: anywhere; margin: 0; }
pre { background: #f8fafc; border: 1px solid var(--line); border-radius: 8px;
  padding: 12px 14px; font-size: 12.5px; line-height: 1.45; overflow: auto; }
code { font-size: 12.5px; }
summary { cursor: pointer; color: var(--blue); font-weight: 600; }
@media (max-width: 700px) { .scroll img { max-width: none; } }
@media print { body { background: #fff; } section { break-inside: avoid; } }
"""
