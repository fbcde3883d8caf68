"""The report page's style sheet; its colours are those of all pages (src/page.py)."""

STYLE = """
:root { --good: #1a6b3a; --good-ground: #e3f3e8; --bad: #a3231c; --bad-ground: #fbe5e3; --shade: #efefea; }
@media (prefers-color-scheme: dark) { :root { --good: #8fdcaa; --good-ground: #173523; --bad: #ffb0a8;
  --bad-ground: #47201d; --shade: #2b2b28; } }
* { box-sizing: border-box; }
html { scroll-padding-top: 1rem; }
body { margin: 0; background: var(--page); color: var(--ink); overflow-wrap: anywhere;
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; }
a { color: var(--mark); }
a:focus-visible, summary:focus-visible, .scroll:focus-visible { outline: 2px solid var(--mark);
  outline-offset: 2px; }
.skip { position: absolute; left: -99rem; }
.skip:focus { left: 1rem; top: 1rem; padding: .5rem; background: var(--card); }
.frame { max-width: 82rem; margin: 0 auto; padding: 1.5rem clamp(.75rem, 3vw, 2.5rem) 3rem; }
header, .body { min-width: 0; max-width: 60rem; }
#summary > ul { padding-left: 1.2rem; }
h1 { margin: 0 0 .5rem; font-size: clamp(1.5rem, 5vw, 2.1rem); line-height: 1.2; }
h2 { margin: 0 0 .6rem; font-size: 1.4rem; line-height: 1.25; }
h3 { margin: 1.8rem 0 .5rem; font-size: 1.05rem; line-height: 1.3; }
p { margin: .6rem 0; max-width: 46rem; }
.quiet, footer { color: var(--quiet); }
.quiet { font-size: .9rem; }
.group { margin: 3rem 0 1rem; font-size: .85rem; font-weight: 600; letter-spacing: .06em; color: var(--quiet);
  text-transform: uppercase; }
section { margin: 1rem 0 1.5rem; padding: 1.2rem clamp(.8rem, 3vw, 1.8rem) 1.4rem; background: var(--card);
  border: 1px solid var(--line); border-radius: .6rem; }
section > h2 a { color: inherit; text-decoration: none; }
section > h2 a:hover { text-decoration: underline; }
.asked { margin: .4rem 0 1rem; padding: .1rem 0 .1rem .9rem; border-left: 3px solid var(--line);
  color: var(--quiet); }
.asked b, .lead { color: var(--ink); }
.box { margin: 1rem 0; padding: .7rem 1rem; border-radius: .4rem; border-left: 4px solid; max-width: 48rem; }
.box p, .box ul { margin: .25rem 0; }
.box ul { padding-left: 1.2rem; }
.slip, .missing { background: var(--warn); color: var(--warn-ink); border-color: currentColor; }
.failed { background: var(--bad-ground); color: var(--bad); border-color: currentColor; }
.scroll { overflow-x: auto; margin: .6rem 0; max-width: 100%; }
table { border-collapse: collapse; font-size: .92rem; line-height: 1.4; overflow-wrap: break-word; }
caption { padding: .2rem 0 .5rem; text-align: left; font-weight: 600; }
th, td { padding: .38rem .7rem; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
thead th { border-bottom-width: 2px; font-size: .85rem; color: var(--quiet); vertical-align: bottom; }
thead .number { white-space: normal; }
tbody th { font-weight: 400; max-width: 26rem; }
.findings tbody th { min-width: 8rem; }
td { max-width: 26rem; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
tbody th.of { padding-top: .9rem; font-weight: 600; max-width: none; }
th.of small { color: var(--quiet); font-weight: 400; }
.value { text-align: right; }
td small { color: var(--quiet); white-space: nowrap; }
tr.more td { font-size: .85rem; }
.verdict { display: inline-block; padding: .05rem .5rem; border-radius: .3rem; font-weight: 600;
  font-size: .85rem; white-space: nowrap; }
.holds { background: var(--good-ground); color: var(--good); }
.fails { background: var(--bad-ground); color: var(--bad); outline: 1px solid currentColor; }
figure { margin: 1.4rem 0; }
figcaption { margin: 0 0 .5rem; font-weight: 600; max-width: 48rem; }
figure img { display: block; max-width: 100%; height: auto; padding: .5rem; background: #fff;
  border: 1px solid var(--line); border-radius: .4rem; }
pre { margin: .4rem 0; padding: .7rem .9rem; white-space: pre-wrap; overflow-wrap: anywhere;
  background: var(--shade); border-radius: .4rem;
  font: .86rem/1.5 ui-monospace, "DejaVu Sans Mono", monospace; }
.contents ol { margin: .2rem 0; padding: 0; list-style: none; }
.contents li { margin: .1rem 0; }
.contents a { display: block; padding: .18rem .5rem; border-radius: .3rem; text-decoration: none;
  line-height: 1.3; }
.contents a:hover { background: var(--shade); }
.contents .of { margin: .9rem 0 .2rem; padding: 0 .5rem; font-size: .8rem; font-weight: 600;
  color: var(--quiet); }
.side { display: none; }
details.contents { margin: 1rem 0; padding: .5rem .8rem; background: var(--card);
  border: 1px solid var(--line); border-radius: .4rem; }
summary { padding: .25rem 0; font-weight: 600; cursor: pointer; }
.contents .mark { color: var(--bad); font-size: .8rem; white-space: nowrap; }
footer { margin-top: 3rem; padding-top: 1rem; border-top: 1px solid var(--line); font-size: .9rem; }
footer dl { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: .15rem 1rem; margin: 0; }
footer dt { font-weight: 600; }
footer dd { margin: 0; }
@media (min-width: 30.01rem) {
  .wide tbody th { position: sticky; left: 0; background: var(--card); }
  .wide tbody th:not(.number) { min-width: 12rem; }
}
@media (min-width: 66rem) {
  .frame { display: grid; grid-template-columns: 15rem minmax(0, 1fr); gap: 0 2.5rem; }
  header, .body { grid-column: 2; }
  .side { display: block; grid-column: 1; grid-row: 1 / span 2; position: sticky; top: 0;
    align-self: start; max-height: 100vh; overflow-y: auto; padding: 1rem 0; font-size: .92rem; }
  details.contents { display: none; }
}
@media (max-width: 30rem) {
  body { font-size: 15px; }
  section { padding: 1rem .7rem 1.2rem; }
  th, td { padding: .35rem .45rem; }
  .findings { font-size: .8rem; }
  .findings th, .findings td { padding: .35rem .3rem; }
  .findings tbody th { min-width: 5.2rem; }
  .plain, .wide { font-size: .86rem; }
  /* A row becomes a block: what was compared, then its cells, each with its column's name. */
  .compare, .claims { display: block; }
  .compare thead, .claims thead { position: absolute; clip-path: inset(50%); height: 1px; overflow: hidden; }
  .compare tbody, .claims tbody { display: block; }
  .compare tr, .claims tr { display: grid; gap: .1rem .8rem; padding: .5rem 0;
    border-bottom: 1px solid var(--line); }
  .compare tr { grid-template-columns: repeat(3, minmax(0, 1fr)); }
  .claims tr { grid-template-columns: repeat(2, minmax(0, 1fr)); }
  .compare th, .claims th, .compare td, .claims td { border: 0; padding: .1rem 0; text-align: left;
    max-width: none; white-space: normal; overflow-wrap: anywhere; }
  .compare tbody th, .claims tbody th, .compare td:nth-of-type(4), .claims td:nth-of-type(1) {
    grid-column: 1 / -1; }
  .compare td::before, .claims td:nth-of-type(n+2)::before { display: block; color: var(--quiet);
    font-size: .72rem; }
  .compare td:nth-of-type(1)::before { content: "Report"; }
  .compare td:nth-of-type(2)::before { content: "Measured here"; }
  .compare td:nth-of-type(3)::before { content: "Difference"; }
  .claims td:nth-of-type(2)::before { content: "Measured"; }
  .claims td:nth-of-type(3)::before { content: "Expected"; }
  /* Drawn for a page's width: half of it would not be read, so it is moved sideways in its own box. */
  figure img { max-width: none; width: max(100%, 40rem); }
}
@media print {
  @page { margin: 16mm 14mm; }
  :root { --page: #fff; --card: #fff; --ink: #000; --quiet: #444; --line: #bbb; --mark: #003e6b;
    --warn: #fff8e0; --warn-ink: #4a3800; --good: #11502a; --good-ground: #fff; --bad: #8a1a14;
    --bad-ground: #fff; --shade: #f4f4f2; }
  body { font-size: 10pt; line-height: 1.4; }
  .frame { display: block; max-width: none; padding: 0; }
  header, .body, p, .box, figcaption { max-width: none; }
  .side { display: block; position: static; max-height: none; overflow: visible; font-size: 10pt;
    margin: 0 0 6mm; }
  tr:has(> .of) { break-after: avoid; }
  .skip, details.contents { display: none; }
  section { padding: 0; border: 0; margin: 0 0 8mm; }
  .group { break-after: avoid; margin: 8mm 0 3mm; }
  h2, h3, figcaption, caption, thead { break-after: avoid; }
  figure, .box, tr, pre { break-inside: avoid; }
  figure img { padding: 0; border: 0; max-height: 225mm; max-width: 100%; width: auto; }
  .scroll { overflow: visible; }
  .wide tbody th { position: static; }
  table { font-size: 8.5pt; max-width: 100%; }
  td, tbody th { overflow-wrap: anywhere; }
  .wide td, .wide tbody th, .number { overflow-wrap: normal; }
  table.wide { font-size: 6.5pt; width: 100%; }
  table.wide th, table.wide td { padding: .2rem .25rem; min-width: 0; }
  .verdict { border: 1px solid currentColor; }
  pre { white-space: pre-wrap; overflow-wrap: anywhere; border: 1px solid var(--line); }
  a { text-decoration: none; }
}
"""
