/**
 * The journal of a run: one line of JSON for everything that is done and on the disk. A line is flushed before the
 * next step begins, so that whoever reads the journal after the process was killed knows what stands.
 *
 *   {"kind":"run","version":1,...}     whose run this is: the fingerprint
 *   {"kind":"transform",...}           what a transform found is in its file
 *   {"kind":"stage",...}               a stage is in its file, and the inputs of the next one in theirs
 *   {"kind":"tuned",...}               the model was trained: all stages are in files anew, those before go
 *   {"kind":"result",...}              the model is whole in the folder `result`
 *   {"kind":"publish",...}             the files that move to the output; from here on nothing is computed
 *   {"kind":"done"}                    they are there
 *
 * Version 1. Later versions of Pare read it.
 */
import { readFileSync, statSync } from 'node:fs'
import { disk } from '../formats/disk.ts'
import { writeFailure } from '../formats/output.ts'
import { type Facts, printable, StateError } from '../tensor/errors.ts'
import {
  entry,
  type Fingerprint,
  JOURNAL_VERSION,
  type JournalEntry,
  type StageEntry,
  type TransformEntry,
  type TunedEntry,
} from './journal_entries.ts'

/** What a journal says; `length` is where its last whole line ends. */
export interface JournalState {
  fingerprint: Fingerprint
  transforms: TransformEntry[]
  /** Those that the training of the model left, where there was one. */
  stages: StageEntry[]
  tuned: Pick<TunedEntry, 'losses' | 'kept' | 'seconds'> | undefined
  result: Extract<JournalEntry, { kind: 'result' }> | undefined
  /** Files that move to the output. */
  publish: string[] | undefined
  done: boolean
  length: number
}

/** More lines than any model has stages. */
const LONGEST = 256 << 20

/**
 * Reads a journal. A line that was cut short when the process ended is left out; what it told of is done again.
 *
 * @returns nothing where there is no journal, or one without its first line.
 * @throws StateError (exit 3) where a line that is not the last one is damaged, or the lines do not follow each other.
 */
export function readJournal(path: string): JournalState | undefined {
  const status = statSync(path, { throwIfNoEntry: false })
  if (!status) return undefined
  const damaged = (line: number, what: string) => damagedJournal(path, `line ${line} ${what}`, { line })
  if (!status.isFile()) throw damagedJournal(path, 'a journal is a file, this is something else')
  if (status.size > LONGEST) throw damaged(1, 'begins a journal that is too long to be one')
  const bytes = readFileSync(path)
  let state: JournalState | undefined
  for (let start = 0, line = 1; ; line++) {
    const end = bytes.indexOf(10, start)
    // The last line has no end: it was being written.
    if (end < 0) return state
    const parsed = parseEntry(bytes.toString('utf8', start, end))
    if (!parsed) {
      if (end + 1 === bytes.length) return state
      throw damaged(line, 'is damaged')
    }
    if (parsed === 'foreign') throw damaged(line, 'is from another version of Pare or another program')
    if (typeof parsed === 'number') throw newer(path, parsed)
    if (!state && parsed.kind !== 'run') throw damaged(line, 'does not say whose run this is')
    if (!state) state = emptyState((parsed as Extract<JournalEntry, { kind: 'run' }>).fingerprint)
    else if (!follows(state, parsed)) throw damaged(line, `(${parsed.kind}) does not follow the one before`)
    start = end + 1
    state.length = start
  }
}

/** Whoever reads on would mix two runs. */
export const damagedJournal = (path: string, what: string, facts: Facts = {}): StateError =>
  new StateError(`${printable(path)}: ${what}; give --restart to discard this run, or name another output`, {
    code: 'PARE_E_JOURNAL',
    facts: { path, ...facts },
  })

const newer = (path: string, version: number) =>
  new StateError(
    `${printable(path)}: has version ${version} of journals, and this Pare reads up to ${JOURNAL_VERSION}; go on with the newer Pare that wrote it, or give --restart to discard this run`,
    { code: 'PARE_E_NEWER_FILE', facts: { path, version } },
  )

/**
 * Nothing where the line is no JSON; `foreign` where it is JSON that this version does not know; the version where it
 * begins a journal of a newer one.
 */
function parseEntry(text: string): JournalEntry | 'foreign' | number | undefined {
  let json: unknown
  try {
    json = JSON.parse(text)
  } catch {
    return undefined
  }
  const { success, data } = entry.safeParse(json)
  if (success) return data
  const { kind, version } = (json ?? {}) as Record<string, unknown>
  return kind === 'run' && Number.isSafeInteger(version) && (version as number) > JOURNAL_VERSION
    ? (version as number)
    : 'foreign'
}

/** Of a run that has only begun; `length` of a journal that is not written yet. */
export const emptyState = (fingerprint: Fingerprint): JournalState => ({
  fingerprint,
  transforms: [],
  stages: [],
  tuned: undefined,
  result: undefined,
  publish: undefined,
  done: false,
  length: 0,
})

/** Adds an entry to what is known; false where it cannot come next. */
function follows(state: JournalState, next: JournalEntry): boolean {
  if (state.done) return false
  switch (next.kind) {
    case 'run':
      return false
    case 'transform':
      if (state.result || state.stages.length > 0 || next.index !== state.transforms.length) return false
      if (numberIn(next.file.name) !== next.index) return false
      state.transforms.push(next)
      return true
    case 'stage':
      if (state.result || state.tuned || next.index !== state.stages.length) return false
      if (!isShard('stage', next)) return false
      if (next.inputs && numberIn(next.inputs.name) !== next.index) return false
      state.stages.push(next)
      return true
    case 'tuned':
      if (!state.result || state.publish || state.tuned) return false
      if (next.stages.length !== state.stages.length) return false
      if (!next.stages.every((stage, i) => stage.index === i && isShard('tuned', stage) && !stage.inputs))
        return false
      state.stages = next.stages
      state.tuned = next
      state.result = undefined
      return true
    case 'result':
      if (state.publish) return false
      state.result = next
      return true
    case 'publish':
      if (!state.result || state.publish) return false
      state.publish = next.files
      return true
    case 'done':
      state.done = state.publish !== undefined
      return state.done
  }
}

const isShard = (kind: 'stage' | 'tuned', { shard: { name }, index }: StageEntry): boolean =>
  name.startsWith(kind) && numberIn(name) === index

/** `stage-0012.safetensors` is of stage 12. */
const numberIn = (name: string): number => Number(/\d+/.exec(name)![0])

/** Writes lines at the end of a journal, each flushed before the call returns. */
export class JournalWriter {
  readonly path: string
  private descriptor: number | undefined
  private length: number

  /** @param length where the last whole line ends; anything behind is cut off. */
  constructor(path: string, length: number) {
    this.path = path
    this.length = length
    try {
      this.descriptor = disk().openToAppend(path)
      disk().truncate(this.descriptor, length)
    } catch (cause) {
      throw writeFailure(cause, path, length)
    }
  }

  append(next: JournalEntry): void {
    const line = new TextEncoder().encode(`${JSON.stringify(next)}\n`)
    if (this.descriptor === undefined) throw new Error(`${printable(this.path)} is closed`)
    try {
      disk().write(this.descriptor, line)
      disk().syncFile(this.descriptor)
    } catch (cause) {
      throw writeFailure(cause, this.path, this.length + line.length)
    }
    this.length += line.length
  }

  /** Does nothing the second time. */
  close(): void {
    if (this.descriptor !== undefined) disk().close(this.descriptor)
    this.descriptor = undefined
  }
}
