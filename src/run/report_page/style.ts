/** The style sheet of the page: light and dark as the system asks, and paper. */
import { html, type Markup } from './markup.ts'

export interface Palette {
  /** Behind everything, and behind the parts. */
  page: string
  surface: string
  text: string
  /** Less important text. */
  muted: string
  line: string
  /** The result, links and focus. */
  accent: string
  /** What differs: outliers, texts that part. */
  warm: string
  /** Behind marked text. */
  mark: string
  /** Levels of the heat map, from small to large errors. */
  heat: readonly string[]
  /** Text on each level. */
  heatText: readonly string[]
}

const [ink, paper] = ['#0c1622', '#ffffff']

export const light: Palette = {
  page: '#f4f6f9',
  surface: '#ffffff',
  text: '#16202c',
  muted: '#55616f',
  line: '#d8dee6',
  accent: '#0b5cad',
  warm: '#a8410a',
  mark: '#ffe9d6',
  heat: ['#f0f5fb', '#dbe8f5', '#c1d8ee', '#a0c4e5', '#7aaed8', '#5497ca', '#2b6fae', '#174f8a', '#0b3463'],
  heatText: [ink, ink, ink, ink, ink, ink, paper, paper, paper],
}

export const dark: Palette = {
  page: '#0e131a',
  surface: '#161d26',
  text: '#e7ecf2',
  muted: '#a3afbd',
  line: '#2d3845',
  accent: '#74b6ff',
  warm: '#ffa366',
  mark: '#4a2d18',
  heat: ['#1c2735', '#1d3349', '#1e4160', '#225279', '#2b6592', '#4288b8', '#63a5d2', '#92c4e4', '#c8e2f4'],
  heatText: [paper, paper, paper, paper, paper, ink, ink, ink, ink],
}

const variables = ({ heat, heatText, ...colours }: Palette): string =>
  [
    ...Object.entries(colours).map(([name, colour]) => `--${name}:${colour}`),
    ...heat.map((colour, i) => `--h${i}:${colour};--t${i}:${heatText[i]}`),
  ].join(';')

const levels = light.heat
  .map(
    (_, i) =>
      `.h${i} .cell{fill:var(--h${i})}.h${i} .value,.h${i} .triangle{fill:var(--t${i})}.h${i} .outlier{stroke:var(--t${i})}`,
  )
  .join('\n')

export const styleElement: Markup = html`<style>
:root{color-scheme:light dark;${variables(light)}}
@media (prefers-color-scheme:dark){:root{${variables(dark)}}}
*{box-sizing:border-box}
html{scroll-padding-top:16px;-webkit-text-size-adjust:100%;text-size-adjust:100%}
body{margin:0;background:var(--page);color:var(--text);font:15px/1.55 system-ui,-apple-system,Segoe UI,Roboto,Helvetica Neue,Arial,sans-serif;overflow-wrap:anywhere}
header,main{max-width:1136px;margin:0 auto;padding:0 20px}
header{padding-top:28px}
main{padding-bottom:48px}
main:focus{outline:none}
:focus-visible{outline:3px solid var(--accent);outline-offset:2px;border-radius:4px}
.skip{position:absolute;left:12px;top:-60px;padding:8px 14px;background:var(--surface);color:var(--accent);border:1px solid var(--line);border-radius:8px}
.skip:focus{top:12px}
.brand{margin:0;color:var(--accent);font-size:13px;font-weight:650;letter-spacing:.04em}
h1{margin:2px 0 0;font-size:28px;line-height:1.25;font-weight:680;letter-spacing:-.01em}
.sub{margin:4px 0 0;color:var(--muted)}
nav{display:flex;flex-wrap:wrap;gap:4px;margin:18px -10px 0}
nav a{padding:5px 10px;border-radius:8px;color:var(--text);text-decoration:none}
nav a:hover{background:var(--surface);color:var(--accent)}
section{margin-top:20px;padding:22px 24px 24px;background:var(--surface);border:1px solid var(--line);border-radius:14px}
h2{margin:0 0 14px;font-size:19px;line-height:1.3;font-weight:660}
h3{margin:20px 0 8px;font-size:15px;font-weight:640}
h4{margin:0 0 4px;font-size:13px;font-weight:600;color:var(--muted)}
p{margin:0 0 12px}
.lead{max-width:76ch}
.missing{margin:12px 0 0;padding:10px 14px;border:1px dashed var(--line);border-radius:10px;color:var(--muted)}
code{font:13px/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,DejaVu Sans Mono,monospace}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(154px,1fr));gap:12px;margin:0}
.cards>div{padding:13px 15px;border:1px solid var(--line);border-radius:11px}
.cards dt{color:var(--muted);font-size:13px}
.cards dd{margin:0}
.cards strong{display:block;font-size:23px;line-height:1.35;font-weight:660;font-variant-numeric:tabular-nums;letter-spacing:-.01em}
.cards span{display:block;color:var(--muted);font-size:13px;line-height:1.4}
.command{padding:11px 14px;border:1px solid var(--line);border-radius:10px;background:var(--page)}
.command code{white-space:pre}
.scroll{position:relative;max-width:100%;overflow-x:auto}
.tall{max-height:440px;overflow-y:auto;border:1px solid var(--line);border-radius:10px}
.pair{display:grid;grid-template-columns:repeat(2,minmax(0,1fr));gap:24px}
.pair h3{margin-top:6px}
@media (max-width:1040px){.pair{grid-template-columns:minmax(0,1fr)}}
svg{display:block;flex:none}
svg text{font:12px system-ui,-apple-system,Segoe UI,Roboto,Helvetica Neue,Arial,sans-serif;fill:var(--text);font-variant-numeric:tabular-nums}
svg .tick{fill:var(--muted)}
svg .label{fill:var(--muted)}
svg .name{font-weight:600;paint-order:stroke;stroke:var(--surface);stroke-width:3px;stroke-linejoin:round}
svg .strong{fill:var(--warm);font-weight:700}
.axis{fill:none;stroke:var(--muted)}
.grid{fill:none;stroke:var(--line)}
.point{stroke-width:2.5;stroke:var(--surface)}
.point.source{fill:var(--surface);stroke:var(--muted)}
.point.result{fill:var(--accent)}
.point.other{fill:var(--warm)}
.bar{fill:var(--accent)}
.bar.odd{opacity:.74}
.bar.differs{fill:var(--warm)}
.cross{fill:none;stroke:var(--warm);stroke-width:2}
.line{fill:none;stroke:var(--accent);stroke-width:2;stroke-linejoin:round}
.area{fill:var(--accent);opacity:.12}
.peak{fill:var(--surface);stroke:var(--accent);stroke-width:2.5}
svg .value{font-size:11px}
.none .cell{fill:none;stroke:var(--line)}
.none .value,.none .triangle{fill:var(--muted)}
.outlier{fill:none;stroke-width:1.5}
.none .outlier{stroke:var(--muted)}
${levels}
.key{display:flex;flex-wrap:wrap;align-items:flex-start;gap:6px 24px;margin-top:18px}
.key p{flex:1 1 300px;margin:0;color:var(--muted);font-size:13px}
.key .legend{max-width:100%;height:auto}
details{margin-top:16px}
summary{display:inline-block;padding:4px 8px;margin-left:-8px;border-radius:8px;color:var(--accent);cursor:pointer;font-weight:600}
summary::before{content:'▸';display:inline-block;width:18px}
details[open]>summary::before{content:'▾'}
summary:hover{background:var(--page)}
details .scroll{margin-top:8px}
table{width:100%;border-collapse:collapse;font-size:13px;overflow-wrap:normal}
th,td{padding:6px 12px;text-align:left;vertical-align:top;font-weight:400}
th.number,td.number{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}
thead th{position:sticky;top:0;background:var(--surface);color:var(--muted);font-weight:600;white-space:nowrap;box-shadow:inset 0 -1px var(--line)}
tbody tr:nth-child(even){background:var(--page)}
.sample{margin-top:18px;padding-top:4px;border-top:1px solid var(--line)}
.sample:first-of-type{border-top:0;padding-top:0;margin-top:8px}
.sample h3{margin-top:12px}
.sample .pair{gap:14px}
.prompt,.written{white-space:pre-wrap;unicode-bidi:isolate}
.prompt{padding:0 0 0 12px;border-left:3px solid var(--line)}
.who{display:block;color:var(--muted);font-size:13px;font-weight:600}
.written{margin:0;padding:10px 14px;min-height:3em;border:1px solid var(--line);border-radius:10px;background:var(--page)}
mark{padding:1px 0 1px 3px;border-left:3px solid var(--warm);background:var(--mark);color:var(--text)}
q{font-weight:600}
.facts{margin:0}
.facts>div{display:grid;grid-template-columns:190px minmax(0,1fr);gap:4px 16px;padding:7px 0;border-top:1px solid var(--line)}
.facts>div:first-child{border-top:0}
.facts dt{color:var(--muted)}
.facts dd{margin:0}
ul{margin:0;padding-left:20px}
@media (max-width:600px){header,main{padding-left:12px;padding-right:12px}section{padding:16px 14px 18px;border-radius:12px}h1{font-size:22px}.facts>div{grid-template-columns:minmax(0,1fr)}.cards{grid-template-columns:repeat(2,minmax(0,1fr))}.cards>div{padding:10px 12px}.cards strong{font-size:20px}}
@media print{:root{${variables({ ...light, page: '#ffffff' })}}body{font-size:11pt}nav,.skip{display:none}section{border:0;padding:8px 0;break-inside:auto}figure,svg,.sample,.cards>div{break-inside:avoid}svg{max-width:100%;height:auto}.scroll,.tall{overflow:visible;max-height:none}.bar,.cell,.area,mark{print-color-adjust:exact;-webkit-print-color-adjust:exact}thead th{position:static}details::details-content{content-visibility:visible;height:auto}}
</style>`

/** What the content security policy holds the hash of: the text between the tags. */
export const style: string = styleElement.toString().slice('<style>'.length, -'</style>'.length)
