/** Progress on stderr: one live line in a terminal, plain lines elsewhere. */
import type { CompressionPlan } from '../run/plan.ts'
import type { OnProgress, ProgressEvent } from '../run/progress.ts'
import { programsText } from '../run/targets.ts'
import { stepText } from '../run/tensor_rules.ts'
import type { TimeRange } from '../run/time_plan.ts'
import type { TrainingProgress } from '../run/training_run.ts'
import { printable } from '../tensor/errors.ts'
import { colours } from './colours.ts'

/** `61.2 MB`, below one megabyte `12.3 kB`, below a kilobyte `850 B`. */
export function bytesText(bytes: number): string {
  if (bytes < 1e3) return `${bytes} B`
  return bytes < 1e6 ? `${(bytes / 1e3).toFixed(1)} kB` : `${(bytes / 1e6).toFixed(1)} MB`
}

/** `134.5 M weights`, below a million `84.2 thousand weights`. */
export const weightsText = (count: number): string =>
  count < 1e6 ? `${(count / 1e3).toFixed(1)} thousand weights` : `${(count / 1e6).toFixed(1)} M weights`

const verbs = {
  fetch: 'fetching',
  probe: 'measuring',
  verify: 'checking',
  calibrate: 'calibrating',
  measure: 'measuring',
  transform: 'transforming',
  compress: 'compressing',
  write: 'writing',
  evaluate: 'evaluating',
  sample: 'sampling',
  speed: 'timing',
  baseline: 'comparing',
  read: 'reading',
  train: 'training',
}

/** `75 s`, `4 min` */
function duration(seconds: number): string {
  return seconds < 90 ? `${Math.max(1, Math.round(seconds))} s` : `${Math.round(seconds / 60)} min`
}

export interface TerminalOptions {
  /** Prints nothing but notes. */
  quiet?: boolean
}

/** Shows events; `stop` clears the live line. */
export function terminalProgress({ quiet = false }: TerminalOptions = {}): {
  show: OnProgress
  stop: () => void
} {
  const stream = process.stderr
  const live = stream.isTTY === true && process.env.TERM !== 'dumb' && !process.env.CI
  const { dim } = colours(stream)
  let phase = ''
  let phaseStart = 0
  let lastLine = Number.NEGATIVE_INFINITY
  const clear = () => {
    if (live) stream.write('\r\u001b[K')
  }
  const show = (event: ProgressEvent) => {
    if (event.kind === 'plan') {
      clear()
      if (!quiet) stream.write(`${planText(event.plan)}\n`)
      return
    }
    if (event.kind === 'note') {
      clear()
      stream.write(`note    ${printable(event.text, 400)}\n`)
      return
    }
    if (quiet) return
    const now = performance.now()
    const next = event.kind === 'training' ? 'train' : event.phase
    if (next !== phase) {
      phase = next
      phaseStart = now
      lastLine = Number.NEGATIVE_INFINITY
    }
    const ends = event.kind === 'training' && event.step === event.steps
    // A terminal is redrawn ten times a second; a log gets a line every five seconds.
    if (now - lastLine < (live ? 100 : 5000) && !ends) return
    lastLine = now
    const line = event.kind === 'training' ? trainingLine(event) : phaseLine(event, (now - phaseStart) / 1000)
    if (live) stream.write(`\r\u001b[K${line.slice(0, (stream.columns ?? 80) - 1)}`)
    else stream.write(`${dim(line)}\n`)
  }
  return { show, stop: clear }
}

/** `elapsed` is in seconds, since the phase began. */
function phaseLine(
  { phase, share, text }: Extract<ProgressEvent, { kind: 'progress' }>,
  elapsed: number,
): string {
  const left = share > 0.02 && elapsed > 1 ? `, ${duration((elapsed / share) * (1 - share))} left` : ''
  return `${verbs[phase].padEnd(11)} ${String(Math.floor(share * 100)).padStart(3)}%  ${printable(text, 60)}${left}`
}

/** `training     42%  step 840/2000, loss 3.217, 7,120 tokens/s, 5 min left` */
function trainingLine({ step, steps, loss, perSecond, unit, secondsLeft }: TrainingProgress): string {
  const left = step < steps ? `, ${duration(secondsLeft)} left` : ''
  const speed = perSecond < 10 ? perSecond.toFixed(1) : Math.round(perSecond).toLocaleString('en')
  return `${verbs.train.padEnd(11)} ${String(Math.floor((100 * step) / steps)).padStart(3)}%  step ${step}/${steps}, loss ${loss.toPrecision(4)}, ${speed} ${unit}/s${left}`
}

/** Rules of a plan that are written out. */
const MOST_RULES = 24

/** `40 s to 95 s with 2 threads` */
function timeText({ from, to, threads }: TimeRange): string {
  const range = from === 0 ? `less than ${duration(to)}` : `${duration(from)} to ${duration(to)}`
  return `${range} from here on, with ${threads} ${threads === 1 ? 'thread' : 'threads'}`
}

/** The highest phase, and what it holds: the largest parts first. */
function memoryText({ peakMemoryBytes, memory }: CompressionPlan): string {
  const highest = memory.find(({ bytes }) => bytes === peakMemoryBytes)
  const parts = (highest?.parts ?? []).toSorted((a, b) => b.bytes - a.bytes).slice(0, 3)
  const held = parts.map(({ what, bytes }) => `${what} ${bytesText(bytes)}`).join(', ')
  return `  memory  at most ${bytesText(peakMemoryBytes)}${highest ? `, to ${phaseVerbs[highest.phase]}: ${held}` : ''}`
}

const phaseVerbs: Readonly<Record<CompressionPlan['memory'][number]['phase'], string>> = {
  start: 'start',
  measure: 'measure',
  compress: 'compress',
  write: 'write',
  verify: 'verify',
  evaluate: 'evaluate',
  sample: 'continue prompts',
  speed: 'measure speed',
}

/** The programs that open the result, and how its files are laid out where there was a choice. */
function opensIn({ programs, format, target }: CompressionPlan): string[] {
  const text = programsText(programs)
  const layout = format === target ? '' : `, as ${format}`
  return text === undefined ? [] : [`  opens in ${text}${layout}`]
}

/** The plan as a table by type of weight. */
export function planText(plan: CompressionPlan): string {
  const kinds = new Map<string, { count: number; bytes: number; weights: number }>()
  for (const { role, type, bytes, shape } of plan.tensors) {
    const key = `${role.padEnd(9)}  ${type}`
    const kind = kinds.get(key) ?? { count: 0, bytes: 0, weights: 0 }
    kind.count += 1
    kind.bytes += bytes
    kind.weights += shape.reduce((a, b) => a * b, 1)
    kinds.set(key, kind)
  }
  const rows = [...kinds].map(
    ([key, { count, bytes, weights }]) =>
      `  ${printable(key).padEnd(38)} ${String(count).padStart(5)} tensors ${bytesText(bytes).padStart(10)}  ${((bytes * 8) / weights).toFixed(2).padStart(6)} bits`,
  )
  return [
    `plan    ${printable(plan.name)}: ${weightsText(plan.parameters)}, ${plan.method} to ${plan.target}`,
    ...opensIn(plan),
    ...rows,
    ...(plan.steps.length > 1 || plan.rules.length > 0
      ? plan.steps.map((step, i) => `  step ${i + 1}  ${stepText(step)}: takes ${step.weights} weights`)
      : []),
    ...plan.rules
      .slice(0, MOST_RULES)
      .map(
        ({ rule, match, asks, tensors, examples }) =>
          `  rule    ${rule} ${printable(match)} -> ${asks}: ${tensors} ${tensors === 1 ? 'tensor' : 'tensors'}, such as ${examples.map((name) => printable(name)).join(', ')}`,
      ),
    ...(plan.rules.length > MOST_RULES
      ? [`  and ${plan.rules.length - MOST_RULES} rules more (pare plan --json lists all)`]
      : []),
    `  weights ${bytesText(plan.bytesSource)} -> ${plan.bytesRange ? `${bytesText(plan.bytesRange.least)} to ` : ''}${bytesText(plan.bytesRange?.most ?? plan.bytes)}; linear weights ${plan.bitsPerWeightSource.toFixed(2)} -> ${plan.bitsPerWeight.toFixed(2)} bits each`,
    `  time    ${plan.seconds ? timeText(plan.seconds) : printable(plan.secondsMissing ?? 'not measured', 300)}`,
    memoryText(plan),
    ...plan.notes.map((note) => `  note: ${printable(note, 300)}`),
  ].join('\n')
}
